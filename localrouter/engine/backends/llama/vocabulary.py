"""The vocabulary of a model: text to tokens and back."""

import ctypes
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import llama_cpp.llama_cpp as api

from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.messages import Segment
from localrouter.engine.model_info import TemplateSource
from localrouter.gguf.turn_format import DELIMITERS, TurnFormat, turn_format

_AT_ONCE = 1 << 14
"""Characters after which a text is cut before the next token that llama.cpp finds in it by its spelling: it takes time
that grows with the square of how many there are, 90 s for 65,536 short messages."""
_REMEMBERED = 1 << 22
"""Characters of segments whose tokens are kept: each turn of a conversation sends all of the turns before it again."""

_FALLBACKS: Mapping[TurnFormat, TemplateSource] = {
    "chatml": "fallback chatml",
    "gemma4": "fallback gemma4",
    "gemma": "fallback gemma",
    "plain": "fallback plain",
}


class Vocabulary:
    """Tokens, and what they stand for. It lives as long as its model."""

    def __init__(self, model: Any, template: str | None) -> None:
        """`template` is a chat template to use in place of the model's own."""
        self._native = api.llama_model_get_vocab(model)
        self.size = int(api.llama_vocab_n_tokens(self._native))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._known: OrderedDict[Segment, list[int]] = OrderedDict()
        self._characters = 0
        attributes = [(token, api.llama_vocab_get_attr(self._native, token)) for token in range(self.size)]
        self.controls = {self._text(token): token for token, each in attributes if each & api.LLAMA_TOKEN_ATTR_CONTROL}
        """Control tokens, by the texts that are read as one of them."""
        own_template = (api.llama_model_chat_template(model, None) or b"").decode(errors="replace")
        self.template = own_template if template is None else template
        """Empty where there is none."""
        own = {self._text(token): token for token, each in attributes if each & api.LLAMA_TOKEN_ATTR_USER_DEFINED}
        self._spelled = {True: _longest_first(own | self.controls), False: _longest_first(own)}
        """Tokens that llama.cpp finds by their spelling, in control segments and in others."""
        named = {text: token for text, token in own.items() if _is_mark(text, self.template)}
        self.template_source: TemplateSource = "manifest" if template is not None else "model"
        if not self.template:
            self.template_source = self._fall_back(turn_format(own.keys() | self.controls.keys()), own | self.controls)
        self.special_tokens = self.controls | named
        """Control tokens, and tokens of the vocabulary's own definition that mark something."""
        self._in_marks = re.compile("<(?=" + "|".join(re.escape(mark[1:]) for mark in named) + ")") if named else None

    def _fall_back(self, turns: TurnFormat, special: Mapping[str, int]) -> TemplateSource:
        """Return the name of the fallback template. The token that ends its turns ends answers, as `is_end` says."""
        if turns in DELIMITERS:
            self._ends[special[DELIMITERS[turns].end]] = True
        return _FALLBACKS[turns]

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return the tokens of a prompt; with `begin` the one that begins a text included, where the model wants one.

        Only in control segments are marks recognised.
        """
        tokens: list[int] = []
        for segment in prompt:
            tokens += self._tokens_of(segment)
        first = api.llama_vocab_bos(self._native)
        if begin and api.llama_vocab_get_add_bos(self._native) and tokens[:1] != [first]:
            tokens.insert(0, first)
        return tokens

    def _tokens_of(self, segment: Segment) -> list[int]:
        """The tokens of a segment, which do not depend on what is around it."""
        known = self._known.get(segment)
        if known is not None:
            self._known.move_to_end(segment)
            return known
        tokens = self._known[segment] = self._tokenize(segment.text, segment.control)
        self._characters += len(segment.text)
        while self._characters > _REMEMBERED:
            forgotten, _ = self._known.popitem(last=False)
            self._characters -= len(forgotten.text)
        return tokens

    def _tokenize(self, text: str, control: bool) -> list[int]:
        """Return the tokens of a text. Where it is plain it is cut inside of marks.

        llama.cpp looks for tokens of the vocabulary's own definition in plain text too.
        """
        if control or self._in_marks is None:
            return self._joined(text, control)
        cuts = [0, *(found.end() for found in self._in_marks.finditer(text)), len(text)]
        parts = (text[start:end] for start, end in pairwise(cuts))
        return [token for part in parts if part for token in self._joined(part, control=False)]

    def _joined(self, text: str, control: bool) -> list[int]:
        """Return the tokens of a text, read a part at a time."""
        parts = _parts(text, self._spelled[control], _AT_ONCE)
        return [token for part in parts for token in self._read(part.encode(), control)]

    def _read(self, text: bytes, control: bool) -> list[int]:
        room = len(text) + 16
        buffer = (api.llama_token * room)()
        count = api.llama_tokenize(self._native, text, len(text), buffer, room, False, control)
        assert count >= 0, "no tokenizer makes more tokens than bytes"
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._bytes(token, control=False)
        return known

    def text(self, token: int) -> bytes:
        """Return the bytes that a token stands for; of a control token those by which it is written."""
        return self.piece(token) or self._bytes(token, control=True)

    def _bytes(self, token: int, control: bool) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        length = api.llama_token_to_piece(self._native, token, buffer, len(buffer), 0, control)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = api.llama_token_to_piece(self._native, token, buffer, len(buffer), 0, control)
        return buffer.raw[:length]

    def for_grammars(self) -> GrammarVocabulary:
        """Return what grammars have to know."""
        everything = range(self.size)
        pieces = [self._bytes(token, control=True) for token in everything]
        ends = [token for token in everything if self.is_end(token)]
        return GrammarVocabulary(pieces, list(self.special_tokens.values()), ends, self._plain())

    def _plain(self) -> Callable[[str], list[int]]:
        """Return how text becomes tokens in the middle of an answer.

        Some tokenizers put a space before each text. There a line end before it is read with it, and left out again.
        """
        if b"".join(self._bytes(token, control=False) for token in self._tokenize("a", control=False)) == b"a":
            return lambda text: self._tokenize(text, control=False)
        before = len(self._tokenize("\n", control=False))
        return lambda text: self._tokenize(f"\n{text}", control=False)[before:]

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp counts the token among the ends of generation of this vocabulary."""
        known = self._ends.get(token)
        if known is None:
            known = self._ends[token] = bool(api.llama_vocab_is_eog(self._native, token))
        return known

    @property
    def bos(self) -> str:
        """The text of the token that begins a text; empty where there is none."""
        return self._text(api.llama_vocab_bos(self._native))

    @property
    def eos(self) -> str:
        """The text of the token that ends a text; empty where there is none."""
        return self._text(api.llama_vocab_eos(self._native))

    def _text(self, token: int) -> str:
        return (api.llama_vocab_get_text(self._native, token) or b"").decode(errors="replace") if token >= 0 else ""


def _is_mark(text: str, template: str) -> bool:
    """Whether a token of a vocabulary's own definition marks something, rather than being HTML that users write too.

    Marks look like `<...>`, and have a `|` or `_` in them (`<|channel>`, `<tool_call>`) or stand in the chat template
    (`<think>`); Gemma has `<h1>` and `<table>` as tokens.
    """
    return len(text) > 2 and text[0] + text[-1] == "<>" and (not {"|", "_"}.isdisjoint(text) or text in template)


def _longest_first(texts: Iterable[str]) -> list[str]:
    """Return the texts in the order in which llama.cpp looks for them, without empty ones."""
    return sorted(filter(None, texts), key=len, reverse=True)


def _parts(text: str, spelled: Sequence[str], size: int) -> Iterator[str]:
    """Yield a text cut before some of the `spelled` in it, each part at least `size` characters but the last.

    No token reaches over what is found by its spelling. Of those that begin alike the first in `spelled` counts.
    """
    start = 0
    if len(text) > size and (found := [each for each in spelled if each in text]):
        for match in re.finditer("|".join(map(re.escape, found)), text):
            if match.start() - start >= size:
                yield text[start : match.start()]
                start = match.start()
    yield text[start:]
