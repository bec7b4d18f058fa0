"""Vocabulary of a synthetic model: a byte-level BPE tokenizer of any size.

It contains all bytes, the words of the prompts, invented words for outputs only, and ChatML's control tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from localrouter.bench.words import WORDS
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.gguf.writer import Value

TEMPLATE = "tokenizer.chat_template"
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_SYLLABLES = [consonant + vowel for consonant in "bdfghklmnprstvwz" for vowel in "aeiou"]
_NORMAL, _CONTROL = 1, 3  # llama_token_type of llama.h


@dataclass(frozen=True)
class SyntheticVocabulary:
    """Tokenizer metadata of a GGUF. `key` identifies the vocabulary."""

    key: str
    size: int
    fields: Mapping[str, Value]


def made_up(size: int) -> SyntheticVocabulary:
    """Return a vocabulary of `size` tokens, the control tokens last. Raises ValueError when it is too small."""
    merges = list(_merges())
    ordinary = [*_byte_characters(), *("".join(merge) for merge in merges)]
    if size < len(ordinary) + len(CONTROL):
        raise ValueError(f"a vocabulary needs at least {len(ordinary) + len(CONTROL)} tokens, not {size}")
    invented = _invented(set(ordinary))
    ordinary += (next(invented) for _ in range(size - len(ordinary) - len(CONTROL)))
    text, start, end = (len(ordinary) + index for index in range(3))
    assert start == end - 1
    fields: dict[str, Value] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": [*ordinary, *CONTROL],
        "tokenizer.ggml.token_type": [_NORMAL] * len(ordinary) + [_CONTROL] * len(CONTROL),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": text,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.padding_token_id": text,
        "tokenizer.ggml.add_bos_token": False,
        TEMPLATE: CHATML,
    }
    return SyntheticVocabulary(f"made-up-{size}", size, fields)


def _byte_characters() -> list[str]:
    """Return byte-level BPE's character for each byte: the byte itself if printable, else a character from 256 on."""
    printing = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printing else next(others)) for byte in range(256)]


def _merges() -> Iterator[tuple[str, str]]:
    """Yield the merges of each word with the space before it, from left to right, each merge once.

    All merges begin with the space, so that no merge applies inside another word.
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
    """Yield an endless sequence of words that are not in `taken`: a space and two or more syllables."""
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
