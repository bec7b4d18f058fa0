"""Answers that a model without a mind might write under a grammar: random tokens of those that the grammar allows."""

import random
from collections.abc import Sequence
from functools import cache

import llguidance

BYTES = 256
END = BYTES
"""The token that ends an answer; the marks follow it."""
ENDINGS = ('"', "}", "]")


class ByteVocabulary:
    """A vocabulary of the 256 bytes, the end token, and marks."""

    def __init__(self, marks: Sequence[str]) -> None:
        special = [b"\xff<end>", *(b"\xff" + mark.encode() for mark in marks)]
        self.tokens = [bytes([value]) for value in range(BYTES)] + special
        self.special_token_ids = list(range(BYTES, len(self.tokens)))
        self.bos_token_id = None
        self.eos_token_id = END

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@cache
def tokenizer(marks: tuple[str, ...]) -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(ByteVocabulary(marks)))


def numbers(marks: Sequence[str]) -> dict[str, int]:
    """The marks with their tokens, as a model would tell them."""
    return {mark: END + 1 + index for index, mark in enumerate(marks)}


def matcher(grammar: str, marks: tuple[str, ...] = ()) -> llguidance.LLMatcher:
    """A matcher of a grammar, which has to be right."""
    made = llguidance.LLMatcher(tokenizer(marks), llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0)
    assert not made.is_error(), f"{made.get_error()}\n{grammar}"
    return made


def tokens_of(text: str, marks: Sequence[str]) -> list[int]:
    ids = numbers(marks)
    tokens: list[int] = []
    while text:
        mark = next((mark for mark in marks if text.startswith(mark)), None)
        tokens += [ids[mark]] if mark else text[0].encode()
        text = text[len(mark or text[0]) :]
    return tokens


def admits(grammar: str, text: str, marks: tuple[str, ...] = ()) -> bool:
    """Whether a text is a whole answer; marks in it are tokens."""
    following, tokens = matcher(grammar, marks), tokens_of(text, marks)
    return following.try_consume_tokens(tokens) == len(tokens) and following.is_accepting()


class Walk:
    """One answer. The longer it gets, the more it takes what ends things: `endings`, tried in their order."""

    def __init__(self, grammar: str, seed: int, marks: tuple[str, ...] = (), endings: Sequence[str] = ENDINGS) -> None:
        self._following = matcher(grammar, marks)
        self._random = random.Random(seed)
        self._marks = marks
        self._endings = [tokens_of(ending, marks) for ending in endings]
        self._patience = self._random.choice([3, 10, 40, 150])

    def text(self, longest: int = 2000) -> str | None:
        """The answer, or None if it did not end by itself."""
        written: list[int] = []
        while len(written) < longest:
            tokens = self._next(len(written))
            if tokens == [END]:
                return self._text(written)
            assert self._following.consume_tokens(tokens), self._following.get_error()
            written += tokens
            if self._following.is_stopped():
                return self._text(written)
        return None

    def _next(self, step: int) -> list[int]:
        allowed = [token for token, bias in enumerate(self._following.compute_logit_bias()) if bias]
        assert allowed, f"nothing may follow: {self._following.get_error()}"
        is_tired = self._random.random() < step / self._patience / 10
        if END in allowed and (is_tired or self._random.random() < 0.3):
            return [END]
        if is_tired:
            for ending in self._endings:
                if self._following.validate_tokens(ending) == len(ending):
                    return ending
        plain = [token for token in allowed if token < 128 or token > END]
        return [self._random.choice(plain if plain and self._random.random() < 0.95 else allowed)]

    def _text(self, tokens: Sequence[int]) -> str:
        pieces = [bytes([token]) if token < END else self._marks[token - END - 1].encode() for token in tokens]
        return b"".join(pieces).decode()
