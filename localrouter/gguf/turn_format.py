"""How a model without a chat template is asked: in the turn delimiters that its vocabulary has as special tokens.

The worker asks this of the loaded vocabulary, `localrouter list` and `show` ask it of a file, without llama.cpp.
"""

import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from localrouter.gguf.header import CHAT_TEMPLATE, GgufError, GgufHeader, read_header
from localrouter.gguf.header_bytes import U32, HeaderBytes, Malformed

TurnFormat: TypeAlias = Literal["chatml", "gemma4", "gemma", "plain"]


class Delimiters(NamedTuple):
    """The special tokens around a turn."""

    begin: str
    end: str


DELIMITERS: Mapping[TurnFormat, Delimiters] = {
    "chatml": Delimiters("<|im_start|>", "<|im_end|>"),
    "gemma4": Delimiters("<|turn>", "<turn|>"),
    "gemma": Delimiters("<start_of_turn>", "<end_of_turn>"),
}
"""The delimiters of each format; the first that a vocabulary has count. The format `plain` has none.

ChatML comes first: its delimiters are what people add to the vocabulary of another family to train a model to chat."""

FALLBACK_ADVICE = "use an instruction-tuned file, or name a template as chat_template of its build in the manifest"
"""What to do about a model that has no chat template."""

_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL, _USER_DEFINED = 3, 4  # llama_token_type of llama.h; llama.cpp finds only these by their spelling
_ARRAY_HEAD = 4 + 8
"""Bytes before the elements of an array: their type and their count."""
_TYPE_WIDTH = 4
_INTEGERS = (4, 5)
"""The GGUF types that token types are stored as: 32 bits, unsigned and signed."""
_SEARCHED = 32 << 20
"""Bytes at the start of a file that are searched for a chat template. The largest vocabularies take some 20 MB."""
_CHUNK = 1 << 20


def turn_format(special_tokens: Collection[str]) -> TurnFormat:
    """Return the format in which a model with these special tokens is asked when it has no chat template."""
    fits = (name for name, delimiters in DELIMITERS.items() if all(each in special_tokens for each in delimiters))
    return next(fits, "plain")


def fallback_of_file(path: Path) -> TurnFormat | None:
    """Return the format that stands in for the chat template that a GGUF file lacks; None: the file has a template.

    A file with a template is only searched for it, which takes milliseconds; a large header takes a fifth of a second
    to be read. Raises GgufError.
    """
    try:
        with path.open("rb", buffering=0) as file:
            if _names_template(file):
                return None
    except OSError as error:
        raise GgufError(f"{path} cannot be read: {error.strerror}") from None
    return fallback_of_header(path, read_header(path))


def fallback_of_header(path: Path, header: GgufHeader) -> TurnFormat | None:
    """Return what `fallback_of_file` does, of a file whose header was read already. Raises GgufError."""
    if header.chat_template:
        return None
    wanted = {text.encode(): text for delimiters in DELIMITERS.values() for text in delimiters}
    try:
        with path.open("rb", buffering=0) as file:
            return turn_format([wanted[text] for text in _special(HeaderBytes.of_file(file), header, wanted)])
    except (OSError, Malformed) as error:
        raise GgufError(f"{path} changed while it was read: {error}") from None


def _names_template(file: BinaryIO) -> bool:
    """Whether a text that is not empty is stored under the key of the chat template, near the start of the file."""
    text, key = 8, CHAT_TEMPLATE.encode()
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<I", text)
    rest, position = b"", 0
    while position < _SEARCHED and (chunk := file.read(_CHUNK)):
        data = rest + chunk
        found = data.find(pair)
        length = data[found + len(pair) :][:8] if found >= 0 else b""
        if len(length) == 8:
            return length != bytes(8)
        position += len(chunk)
        rest = data[-len(pair) - 8 :]
    return False


def _special(source: HeaderBytes, header: GgufHeader, wanted: Collection[bytes]) -> list[bytes]:
    """Return those of the `wanted` texts that are control or user-defined tokens of the vocabulary."""
    if _TOKENS not in header.array_offsets or _TYPES not in header.array_offsets:
        return []
    source.position = header.array_offsets[_TOKENS] + _ARRAY_HEAD
    numbers = source.find_texts(header.arrays[_TOKENS], wanted)
    types, count = header.array_offsets[_TYPES], header.arrays[_TYPES]
    source.position = types
    if source.integer(U32) not in _INTEGERS:
        return []
    special = []
    for text, number in numbers.items():
        source.position = types + _ARRAY_HEAD + number * _TYPE_WIDTH
        if number < count and source.integer(U32) in (_CONTROL, _USER_DEFINED):
            special.append(text)
    return special
