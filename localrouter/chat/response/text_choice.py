"""One answer of the older route: from the engine's events to what its chunks say."""

import codecs
from collections.abc import Iterable, Iterator
from typing import Literal

from localrouter.chat.response.choice import failure
from localrouter.chat.response.logprobs import LEAST
from localrouter.engine.messages import Event, Finished, Logprob, Piece, TokenUsage
from localrouter.schema.text_completions import TextChoice, TextLogprobs


class TextChoiceStream:
    """Reads the events of one answer, in their order. `has_logprobs` says whether they were asked for."""

    def __init__(self, index: int, *, has_logprobs: bool) -> None:
        self._index = index
        self._tokens = _TokenList() if has_logprobs else None
        self.usage: TokenUsage | None = None
        """What was counted, when the answer has ended."""

    def feed(self, events: Iterable[Event]) -> list[TextChoice]:
        """Return what these events add: the text that came together in one piece, and the end.

        Raises EngineFailed, or ShuttingDown, when the engine could not finish.
        """
        pieces: list[Piece] = []
        end: Finished | None = None
        for event in events:
            if isinstance(event, Piece):
                pieces.append(event)
            elif isinstance(event, Finished):
                self.usage, end = event.usage, event
        text = "".join(piece.text for piece in pieces)
        tokens = [token for piece in pieces for token in piece.logprobs]
        choices = [self._choice(text, tokens)] if text else []
        if end is not None:
            choices.append(self._end(end))
        return choices

    def _end(self, end: Finished) -> TextChoice:
        if end.reason in ("stop", "length"):
            return self._choice("", [], end.reason)
        raise failure(end)

    def _choice(
        self, text: str, tokens: list[Logprob], finish_reason: Literal["stop", "length"] | None = None
    ) -> TextChoice:
        logprobs = None if self._tokens is None else self._tokens.shown(tokens)
        return TextChoice(self._index, text, logprobs, finish_reason)


class _TokenList:
    """The tokens of one answer in the older form, which says where in the text each of them begins."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._characters = 0

    def shown(self, tokens: list[Logprob]) -> TextLogprobs:
        """Return the next tokens of the answer."""
        return TextLogprobs(
            tokens=[token_text(token.piece) for token in tokens],
            token_logprobs=[max(token.value, LEAST) for token in tokens],
            top_logprobs=[_top(token) for token in tokens],
            text_offset=list(self._offsets(tokens)),
        )

    def _offsets(self, tokens: list[Logprob]) -> Iterator[int]:
        for token in tokens:
            yield self._characters
            self._characters += len(self._decoder.decode(token.piece))


def _top(token: Logprob) -> dict[str, float]:
    """Return the likeliest tokens and the drawn one. Of those that read alike, the likeliest."""
    shown: dict[str, float] = {}
    for piece, value in (*token.top, (token.piece, token.value)):
        shown.setdefault(token_text(piece), max(value, LEAST))
    return shown


def token_text(piece: bytes) -> str:
    r"""Return the bytes of a token as text, or as OpenAI writes those that are none: `bytes:\xe2\x82`."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
