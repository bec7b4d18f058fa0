"""Vocabulary of a real GGUF, for a synthetic model with a real tokenizer."""

import struct
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from localrouter.bench.synthetic.synthetic_vocabulary import CONTROL, TEMPLATE, SyntheticVocabulary
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.gguf.header_bytes import U32, U64, Ended, HeaderBytes, Malformed
from localrouter.gguf.writer import Value

PREFIX = "tokenizer."
_KEY_BYTES = 32 << 20
"""Bytes at the start of a GGUF that contain its tokenizer, which comes before the weights."""


class VocabularyError(Exception):
    """No vocabulary was found in a file; the message is for the user."""


_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), map(struct.Struct, "BbHhIif?Qqd"), strict=True))
_TEXT, _ARRAY = 8, 9
"""Type numbers of strings and arrays in GGUF metadata."""


@cache
def copied(path: Path) -> SyntheticVocabulary:
    """Return the vocabulary of a GGUF, which may lack its weights. Raises VocabularyError."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_KEY_BYTES)
        fields: dict[str, Value] = {name: value for name, value in _fields(beginning) if name.startswith(PREFIX)}
    except (OSError, Malformed, Ended, KeyError) as error:
        raise VocabularyError(f"{path}: this cannot be read as a GGUF ({error})") from error
    key = blake2b(beginning, digest_size=8).hexdigest()
    if "tokenizer.ggml.tokens" not in fields:
        raise VocabularyError(f"{path}: this GGUF has no vocabulary")
    tokens = fields["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    if set(CONTROL[1:]) <= set(tokens):
        fields[TEMPLATE] = CHATML
    return SyntheticVocabulary(f"copied-{key}", len(tokens), fields)


def _fields(beginning: bytes) -> list[tuple[str, Any]]:
    """Return all names and values of a GGUF header."""
    header = HeaderBytes.of_memory(beginning, len(beginning))
    if header.take(4) != b"GGUF":
        raise Malformed("it does not begin as a GGUF")
    header.integer(U32)
    header.integer(U64)
    count = header.integer(U64)
    return [(header.text(limit=_KEY_BYTES), _value(header, header.integer(U32))) for _ in range(count)]


def _value(header: HeaderBytes, kind: int) -> Any:
    if kind == _TEXT:
        return header.text(limit=_KEY_BYTES)
    if kind != _ARRAY:
        return _NUMBERS[kind].unpack(header.take(_NUMBERS[kind].size))[0]
    kind, count = header.integer(U32), header.integer(U64)
    if kind in _NUMBERS:
        return [number for (number,) in _NUMBERS[kind].iter_unpack(header.take(count * _NUMBERS[kind].size))]
    return [_value(header, kind) for _ in range(count)]
