"""Vocabulary of a model: text to tokens and back."""

import ctypes
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import llama_cpp.llama_cpp as api

from localrouter.engine.generation_request import Segment
from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.model_info import FimTokens, TemplateSource
from localrouter.gguf.turn_format import DELIMITERS, TurnFormat, turn_format

_AT_ONCE = 1 << 14
"""Characters after which a text is cut before the next special token: llama.cpp's time grows with the square of their
number, 90 s for 65,536 short messages."""
_REMEMBERED = 1 << 22
"""Characters of segments whose tokens are cached: each turn of a conversation sends all turns before it again."""

_FALLBACKS: Mapping[TurnFormat, TemplateSource] = {
    "chatml": "fallback chatml",
    "gemma4": "fallback gemma4",
    "gemma": "fallback gemma",
    "plain": "fallback plain",
}


class Vocabulary:
    """Tokens of a loaded model, their bytes and their kinds. It lives as long as its model."""

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
        """Control tokens by their texts."""
        own_template = (api.llama_model_chat_template(model, None) or b"").decode(errors="replace")
        self.template = own_template if template is None else template
        """Chat template; empty without one."""
        own = {self._text(token): token for token, each in attributes if each & api.LLAMA_TOKEN_ATTR_USER_DEFINED}
        self._spelled = {True: _longest_first(own | self.controls), False: _longest_first(own)}
        """Texts of tokens that llama.cpp finds by their spelling: for True in control segments, for False in others."""
        named = {text: token for text, token in own.items() if _is_special(text, self.template)}
        self.template_source: TemplateSource = "manifest" if template is not None else "model"
        if not self.template:
            self.template_source = self._fall_back(turn_format(own.keys() | self.controls.keys()), own | self.controls)
        self.special_tokens = self.controls | named
        """Control tokens, and user-defined tokens that are special, such as `<think>`, by their texts."""
        rests = "|".join(re.escape(text[1:]) for text in named)
        self._first_of_special = re.compile(f"<(?={rests})") if named else None

    def _fall_back(self, turns: TurnFormat, special: Mapping[str, int]) -> TemplateSource:
        """Return the name of the fallback template, and make the token that ends its turns an end token."""
        if turns in DELIMITERS:
            self._ends[special[DELIMITERS[turns].end]] = True
        return _FALLBACKS[turns]

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return the tokens of a prompt, with `begin` the begin-of-text token included where the model wants one.

        Special tokens are recognised in control segments only.
        """
        tokens: list[int] = []
        for segment in prompt:
            tokens += self._tokens_of(segment)
        first = api.llama_vocab_bos(self._native)
        if begin and api.llama_vocab_get_add_bos(self._native) and tokens[:1] != [first]:
            tokens.insert(0, first)
        return tokens

    def _tokens_of(self, segment: Segment) -> list[int]:
        """Return the tokens of a segment, which do not depend on its neighbours; they are cached."""
        known = self._known.get(segment)
        if known is not None:
            self._known.move_to_end(segment)
            return known
        tokens = self._known[segment] = self._tokenize(segment.text, segment.control)
        self._characters += len(segment.text)
        while self._characters > _REMEMBERED:
            evicted, _ = self._known.popitem(last=False)
            self._characters -= len(evicted.text)
        return tokens

    def _tokenize(self, text: str, control: bool) -> list[int]:
        """Return the tokens of a text. Plain text is cut inside the spelling of special tokens.

        llama.cpp would find user-defined tokens in plain text too.
        """
        if control or self._first_of_special is None:
            return self._joined(text, control)
        cuts = [0, *(found.end() for found in self._first_of_special.finditer(text)), len(text)]
        parts = (text[start:end] for start, end in pairwise(cuts))
        return [token for part in parts if part for token in self._joined(part, control=False)]

    def _joined(self, text: str, control: bool) -> list[int]:
        """Return the tokens of a text, tokenised a part at a time."""
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
        """Return the bytes that a token stands for; for a control token the bytes of its spelling."""
        return self.piece(token) or self._bytes(token, control=True)

    def _bytes(self, token: int, control: bool) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        length = api.llama_token_to_piece(self._native, token, buffer, len(buffer), 0, control)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = api.llama_token_to_piece(self._native, token, buffer, len(buffer), 0, control)
        return buffer.raw[:length]

    def for_grammars(self) -> GrammarVocabulary:
        """Return the vocabulary in the form that grammars need."""
        everything = range(self.size)
        pieces = [self._bytes(token, control=True) for token in everything]
        return GrammarVocabulary(pieces, list(self.special_tokens.values()), self.ends, self._plain())

    def _plain(self) -> Callable[[str], list[int]]:
        """Return a function that tokenises plain text in the middle of an output.

        Some tokenizers put a space before each text. For these a line end is put before the text, and its tokens are
        removed again.
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

    @cached_property
    def ends(self) -> list[int]:
        """All tokens for which `is_end` is true."""
        return [token for token in range(self.size) if self.is_end(token)]

    @property
    def bos(self) -> str:
        """Text of the begin-of-text token; empty without one."""
        return self._text(api.llama_vocab_bos(self._native))

    @property
    def eos(self) -> str:
        """Text of the end-of-text token; empty without one."""
        return self._text(api.llama_vocab_eos(self._native))

    @property
    def pad(self) -> str:
        """Text of the padding token; empty without one."""
        return self._text(api.llama_vocab_pad(self._native))

    @property
    def fim(self) -> FimTokens | None:
        """Fill-in-the-middle tokens; None where one of the first three is missing."""
        names = ("pre", "suf", "mid", "rep", "sep")
        tokens = [int(getattr(api, f"llama_vocab_fim_{name}")(self._native)) for name in names]
        if min(tokens[:3]) < 0:
            return None
        repository, separator = (None if token < 0 else token for token in tokens[3:])
        return FimTokens(tokens[0], tokens[1], tokens[2], repository, separator)

    def _text(self, token: int) -> str:
        return (api.llama_vocab_get_text(self._native, token) or b"").decode(errors="replace") if token >= 0 else ""


def _is_special(text: str, template: str) -> bool:
    """Whether a user-defined token is special, and not HTML that users write too, as Gemma's token `<table>`.

    Special ones look like `<...>`, and contain `|` or `_` (`<|channel>`, `<tool_call>`) or are part of the chat
    template (`<think>`).
    """
    return len(text) > 2 and text[0] + text[-1] == "<>" and (not {"|", "_"}.isdisjoint(text) or text in template)


def _longest_first(texts: Iterable[str]) -> list[str]:
    """Return the texts in the order in which llama.cpp looks for them, without empty ones."""
    return sorted(filter(None, texts), key=len, reverse=True)


def _parts(text: str, spelled: Sequence[str], size: int) -> Iterator[str]:
    """Yield the parts of a text, cut before `spelled` tokens in it; all but the last have at least `size` characters.

    No other token spans the border of a token that is found by its spelling. Where several match, the first one in
    `spelled` counts.
    """
    start = 0
    if len(text) > size and (found := [each for each in spelled if each in text]):
        for match in re.finditer("|".join(map(re.escape, found)), text):
            if match.start() - start >= size:
                yield text[start : match.start()]
                start = match.start()
    yield text[start:]
