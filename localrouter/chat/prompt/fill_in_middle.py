"""Prompts for code between two texts (fill in the middle), in the order and with the special tokens of llama-server.

The whole prompt is `[repository]...[separator]file...[prefix]text before[suffix]text after[middle]`. Texts of the
client are plain text: special tokens that they spell are not recognised.
"""

from collections.abc import Sequence
from typing import NamedTuple

from localrouter.chat.engine_interface import LoadedEngine
from localrouter.engine.generation_request import Segment
from localrouter.engine.model_info import FimTokens
from localrouter.errors import InvalidRequest

_REPOSITORY = "myproject\n"
"""Name of the repository that llama-server writes, for want of the real one."""
_CURRENT_FILE = "filename\n"
"""Name of the current file that llama-server writes, for want of the real one."""
_SNIPPET = "\n\n--- snippet ---\n\n"
"""Text between files for vocabularies without a token for it."""


class ContextFile(NamedTuple):
    """A file that the model sees before the text to fill in."""

    name: str
    text: str


async def fim_prompt(
    engine: LoadedEngine,
    prefix: str | list[int],
    suffix: str,
    *,
    files: Sequence[ContextFile] | None = None,
    param: str,
) -> list[int]:
    """Return the tokens of a prompt for the text between `prefix`, given as text or tokens, and `suffix`.

    With `files`, if only none, the prompt has the form for a repository where the vocabulary has tokens for it. `param`
    is the field that an error names. Raises InvalidRequest for a model without fill-in-the-middle tokens.
    """
    special = engine.info.fim
    if special is None:
        message = f"'{param}' is not supported by {engine.model}: its vocabulary has no fill-in-the-middle tokens."
        raise InvalidRequest(message, param=param, code="unsupported_parameter")
    begin = (await engine.tokenize([], True)).tokens
    before = prefix if isinstance(prefix, list) else await _plain(engine, prefix)
    after = await _plain(engine, suffix)
    repository = [] if files is None else await _repository(engine, special, files)
    return [*repository, *begin, special.prefix, *before, special.suffix, *after, special.middle]


async def _repository(engine: LoadedEngine, special: FimTokens, files: Sequence[ContextFile]) -> list[int]:
    """Return the tokens of other files, which come before the text to fill in."""
    tokens: list[int] = []
    if special.repository is not None:
        tokens += [special.repository, *await _plain(engine, _REPOSITORY)]
    for file in files:
        if special.separator is None:
            tokens += await _plain(engine, _SNIPPET)
        else:
            tokens += [special.separator, *await _plain(engine, f"{file.name}\n")]
        tokens += await _plain(engine, file.text)
    if special.separator is not None:
        tokens += [special.separator, *await _plain(engine, _CURRENT_FILE)]
    return tokens


async def _plain(engine: LoadedEngine, text: str) -> list[int]:
    """Return the tokens of a text, in which no special tokens are recognised."""
    return (await engine.tokenize([Segment(text, control=False)], False)).tokens if text else []
