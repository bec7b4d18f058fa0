"""The tokenizer of a real GGUF, for a synthetic model that reads text as the real one does."""

from functools import cache
from hashlib import blake2b
from pathlib import Path

from gguf import GGUFReader

from localrouter.bench.vocabulary import CONTROL, TEMPLATE, Vocabulary
from localrouter.chat.template import CHATML
from localrouter.gguf.writer import Value

PREFIX = "tokenizer."
_KEY_BYTES = 32 << 20
"""Enough of a GGUF to hold its tokenizer, which comes before the weights."""


class VocabularyError(Exception):
    """No vocabulary can be found in a file; the message is for the person who asked for it."""


@cache
def copied(path: Path) -> Vocabulary:
    """Return the vocabulary of a GGUF, with its weights or without. Reading takes seconds. Raises VocabularyError."""
    try:
        found = {name: field for name, field in GGUFReader(path).fields.items() if name.startswith(PREFIX)}
        with path.open("rb") as file:
            key = blake2b(file.read(_KEY_BYTES), digest_size=8).hexdigest()
    except (OSError, ValueError) as error:
        raise VocabularyError(f"{path}: this cannot be read as a GGUF ({error})") from error
    if "tokenizer.ggml.tokens" not in found:
        raise VocabularyError(f"{path}: this GGUF has no vocabulary")
    fields: dict[str, Value] = {name: field.contents() for name, field in found.items()}
    tokens = fields["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    if set(CONTROL[1:]) <= set(tokens):
        fields[TEMPLATE] = CHATML
    return Vocabulary(f"copied-{key}", len(tokens), fields)
