"""The tokenizer of a synthetic model: made up, or copied from a real GGUF.

The made-up one is a byte-level BPE of any size: all bytes, the words of the prompts, invented words that only ever
appear in answers, and the control tokens of ChatML.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from gguf import GGUFReader, GGUFValueType, TokenType

from benchmarks.words import WORDS
from localrouter.chat.template import CHATML

PREFIX = "tokenizer."
TEMPLATE = "tokenizer.chat_template"
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_SYLLABLES = [consonant + vowel for consonant in "bdfghklmnprstvwz" for vowel in "aeiou"]
_KEY_BYTES = 32 << 20
"""Enough of a GGUF to hold its tokenizer, which comes before the weights."""

Value: TypeAlias = str | bool | int | float | list[str] | list[int]


class VocabularyError(Exception):
    """No vocabulary can be made, or found in a file; the message is for the person who asked for it."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer's part of a GGUF. `key` tells it from every other one."""

    key: str
    size: int
    fields: Mapping[str, tuple[Value, GGUFValueType]]


def made_up(size: int) -> Vocabulary:
    """Return a vocabulary of `size` tokens, the control tokens last. Raises VocabularyError when it is too small."""
    merges = list(_merges())
    ordinary = [*_byte_characters(), *("".join(merge) for merge in merges)]
    if size < len(ordinary) + len(CONTROL):
        raise VocabularyError(f"a vocabulary needs at least {len(ordinary) + len(CONTROL)} tokens, not {size}")
    invented = _invented(set(ordinary))
    ordinary += (next(invented) for _ in range(size - len(ordinary) - len(CONTROL)))
    kinds = [int(TokenType.NORMAL)] * len(ordinary) + [int(TokenType.CONTROL)] * len(CONTROL)
    text, start, end = (len(ordinary) + index for index in range(3))
    assert start == end - 1
    array, string, number = GGUFValueType.ARRAY, GGUFValueType.STRING, GGUFValueType.UINT32
    fields: dict[str, tuple[Value, GGUFValueType]] = {
        "tokenizer.ggml.model": ("gpt2", string),
        "tokenizer.ggml.pre": ("qwen2", string),
        "tokenizer.ggml.tokens": ([*ordinary, *CONTROL], array),
        "tokenizer.ggml.token_type": (kinds, array),
        "tokenizer.ggml.merges": ([" ".join(merge) for merge in merges], array),
        "tokenizer.ggml.bos_token_id": (text, number),
        "tokenizer.ggml.eos_token_id": (end, number),
        "tokenizer.ggml.padding_token_id": (text, number),
        "tokenizer.ggml.add_bos_token": (False, GGUFValueType.BOOL),
        TEMPLATE: (CHATML, string),
    }
    return Vocabulary(f"made-up-{size}", size, fields)


def copied(path: Path) -> Vocabulary:
    """Return the vocabulary of a GGUF, with its weights or without. Raises VocabularyError."""
    try:
        found = {name: field for name, field in GGUFReader(path).fields.items() if name.startswith(PREFIX)}
        with path.open("rb") as file:
            key = blake2b(file.read(_KEY_BYTES), digest_size=8).hexdigest()
    except (OSError, ValueError) as error:
        raise VocabularyError(f"{path}: this cannot be read as a GGUF ({error})") from error
    if "tokenizer.ggml.tokens" not in found:
        raise VocabularyError(f"{path}: this GGUF has no vocabulary")
    fields = {name: (field.contents(), field.types[0]) for name, field in found.items()}
    tokens = fields["tokenizer.ggml.tokens"][0]
    if set(CONTROL[1:]) <= set(tokens):
        fields[TEMPLATE] = (CHATML, GGUFValueType.STRING)
    return Vocabulary(f"copied-{key}", len(tokens), fields)


def _byte_characters() -> list[str]:
    """Return the character that byte-level BPE writes for each byte: itself where it prints, else one from 256 on."""
    printing = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printing else next(others)) for byte in range(256)]


def _merges() -> Iterator[tuple[str, str]]:
    """Yield the merges that build each word, and the space before it, from left to right, each merge once.

    They all begin with the space, so that none of them can get into another word's way.
    """
    space = _byte_characters()[ord(" ")]
    seen = set()
    for word in WORDS:
        for length in range(len(word)):
            merge = (space + word[:length], word[length])
            if merge not in seen:
                seen.add(merge)
                yield merge


def _invented(taken: set[str]) -> Iterator[str]:
    """Yield words that nobody has: a space and two syllables or more, without end."""
    space = _byte_characters()[ord(" ")]
    number = len(_SYLLABLES)
    while True:
        rest, word = number, ""
        while rest:
            rest, syllable = divmod(rest, len(_SYLLABLES))
            word += _SYLLABLES[syllable]
        if space + word not in taken:
            yield space + word
        number += 1
