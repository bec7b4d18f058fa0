"""A byte-level BPE tokenizer whose pieces of a word do not depend on what stands before the word.

A name reads the same after a space, a quote or an underscore, so copying it into JSON takes no translation.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split, WhitespaceSplit
from tokenizers.trainers import BpeTrainer

# llama.cpp's "qwen2" pre-tokenizer
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
SPACE = "\u0120"  # how byte-level text writes a space
LEAST_USES = 80  # of a word behind a space, for a piece of its own
_WORD_AFTER_MARK = re.compile(r"[^A-Za-z][A-Za-z]+")


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer and its two tables, in the order a GGUF file wants them."""

    tokenizer: Tokenizer
    tokens: list[str]
    merges: list[tuple[str, str]]

    def index(self, token: str) -> int:
        """Return the id of a token."""
        return self.tokens.index(token)

    def pieces(self) -> list[str]:
        """Return lower-case words and parts of words, for the generators to copy."""
        return [token for token in self.tokens if re.fullmatch("[a-z]{2,}", token)]


def train(texts: Iterable[str], size: int, spaced: int, content_words: set[str]) -> Vocabulary:
    """Learn `size` merges on bare words, then glue a space to the `spaced` most used words that are not content."""
    split = _splitter()
    before_words: Counter[str] = Counter()
    plain = Tokenizer(BPE())
    plain.pre_tokenizer = WhitespaceSplit()
    trainer = BpeTrainer(
        vocab_size=256 + size,
        initial_alphabet=ByteLevel.alphabet(),
        min_frequency=40,
        show_progress=False,
        max_token_length=14,
    )
    plain.train_from_iterator(_words(texts, split, before_words), trainer)
    model: dict[str, Any] = json.loads(plain.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    known = set(model["vocab"])
    used = [word for word, uses in before_words.most_common() if uses >= LEAST_USES]
    glued = [word for word in used if word in known and word not in content_words][:spaced]
    merges.extend((SPACE, word) for word in glued)
    return assemble(sorted(ByteLevel.alphabet()), merges)


def _splitter() -> Sequence:
    return Sequence([Split(Regex(PATTERN), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])


def _words(texts: Iterable[str], split: Any, before_words: Counter[str]) -> Iterator[str]:
    marks = re.compile("|".join(map(re.escape, (*CONTROL, *MARKS))))
    for text in texts:
        words = []
        for part in filter(None, marks.split(text)):
            for piece, _ in split.pre_tokenize_str(part):
                bare = piece[1:] if _WORD_AFTER_MARK.fullmatch(piece) else piece
                if piece == SPACE + bare and bare.islower():
                    before_words[bare] += 1
                words.append(bare)
        yield " ".join(words)


def assemble(alphabet: list[str], merges: list[tuple[str, str]]) -> Vocabulary:
    """Make a tokenizer of bytes, merges in order and special tokens; without a normalizer, as llama.cpp has none."""
    tokens = [*alphabet]
    seen = set(tokens)
    for left, right in merges:
        if left + right not in seen:
            tokens.append(left + right)
            seen.add(left + right)
    tokenizer = Tokenizer(BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in (*CONTROL, *MARKS)])
    return Vocabulary(tokenizer, [*tokens, *CONTROL, *MARKS], merges)
