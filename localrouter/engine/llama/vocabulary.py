"""The vocabulary of a model: text to tokens and back."""

import ctypes
from collections import OrderedDict
from typing import Any

import llama_cpp.llama_cpp as api

from localrouter.engine.messages import Segment

_REMEMBERED = 1 << 22
"""Characters of segments whose tokens are kept: each turn of a conversation sends all of the turns before it again."""


class Vocabulary:
    """Tokens, and what they stand for. It lives as long as its model."""

    def __init__(self, model: Any) -> None:
        self._native = api.llama_model_get_vocab(model)
        self.size = int(api.llama_vocab_n_tokens(self._native))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._known: OrderedDict[Segment, list[int]] = OrderedDict()
        self._characters = 0

    def tokenize(self, prompt: list[Segment]) -> list[int]:
        """Return the tokens of a prompt. Only in control segments are control tokens recognised."""
        tokens: list[int] = []
        for segment in prompt:
            tokens += self._tokens_of(segment)
        begin = api.llama_vocab_bos(self._native)
        if api.llama_vocab_get_add_bos(self._native) and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        return tokens

    def _tokens_of(self, segment: Segment) -> list[int]:
        """The tokens of a segment, which do not depend on what is around it."""
        known = self._known.get(segment)
        if known is not None:
            self._known.move_to_end(segment)
            return known
        tokens = self._known[segment] = self._tokenize(segment.text.encode(), segment.control)
        self._characters += len(segment.text)
        while self._characters > _REMEMBERED:
            forgotten, _ = self._known.popitem(last=False)
            self._characters -= len(forgotten.text)
        return tokens

    def _tokenize(self, text: bytes, control: bool) -> list[int]:
        room = len(text) + 16
        buffer = (api.llama_token * room)()
        count = api.llama_tokenize(self._native, text, len(text), buffer, room, False, control)
        assert count >= 0, "no tokenizer makes more tokens than bytes"
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(256)
            length = api.llama_token_to_piece(self._native, token, buffer, len(buffer), 0, False)
            if length < 0:
                buffer = ctypes.create_string_buffer(-length)
                length = api.llama_token_to_piece(self._native, token, buffer, len(buffer), 0, False)
            known = self._pieces[token] = buffer.raw[:length]
        return known

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

    def control_tokens(self) -> list[str]:
        """Return the texts that are read as one control token each."""
        return [
            self._text(token)
            for token in range(self.size)
            if api.llama_vocab_get_attr(self._native, token) & api.LLAMA_TOKEN_ATTR_CONTROL
        ]

    def _text(self, token: int) -> str:
        return (api.llama_vocab_get_text(self._native, token) or b"").decode(errors="replace") if token >= 0 else ""
