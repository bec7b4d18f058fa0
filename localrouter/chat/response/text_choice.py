"""One choice of the older route: from the engine's events to the choices of its chunks."""

from collections.abc import Iterable, Sequence
from typing import Literal

from localrouter.chat.response.choice import failure
from localrouter.chat.response.logprobs import LEAST
from localrouter.chat.response.token_alignment import AlignedToken, TokenAlignment
from localrouter.engine.messages import Event, Finished, Logprob, Piece, TokenUsage
from localrouter.schema.text_completions import TextChoice, TextLogprobs


class TextChoiceStream:
    """Turns the events of one choice, in their order, into chunk choices."""

    def __init__(self, index: int, *, has_logprobs: bool) -> None:
        """`has_logprobs`: the request asks for logprobs."""
        self._index = index
        self._has_logprobs = has_logprobs
        self._alignment = TokenAlignment()
        self.usage: TokenUsage | None = None
        """Token counts of the engine, once the choice has ended."""

    def feed(self, events: Iterable[Event]) -> list[TextChoice]:
        """Return the chunk choices for events that arrived together: one for all text, one for the end.

        Raises EngineFailed or ShuttingDown when the engine has failed.
        """
        pieces: list[Piece] = []
        end: Finished | None = None
        for event in events:
            if isinstance(event, Piece):
                pieces.append(event)
            elif isinstance(event, Finished):
                self.usage, end = event.usage, event
        text = "".join(piece.text for piece in pieces)
        tokens = [token for piece in pieces for token in self._alignment.add(piece)]
        choices = [self._choice(text, tokens)] if text else []
        if end is not None:
            choices.append(self._end(end))
        return choices

    def _end(self, end: Finished) -> TextChoice:
        if end.reason in ("stop", "length"):
            return self._choice("", [], end.reason)
        raise failure(end)

    def _choice(
        self, text: str, tokens: Sequence[AlignedToken], finish_reason: Literal["stop", "length"] | None = None
    ) -> TextChoice:
        return TextChoice(self._index, text, _logprobs(tokens) if self._has_logprobs else None, finish_reason)


def _logprobs(tokens: Sequence[AlignedToken]) -> TextLogprobs:
    return TextLogprobs(
        tokens=[token_text(each.token.piece) for each in tokens],
        token_logprobs=[max(each.token.value, LEAST) for each in tokens],
        top_logprobs=[_top(each.token) for each in tokens],
        text_offset=[each.start for each in tokens],
    )


def _top(token: Logprob) -> dict[str, float]:
    """Return the likeliest tokens and the sampled one. Of tokens with the same text, the likeliest counts."""
    top: dict[str, float] = {}
    for piece, value in (*token.top, (token.piece, token.value)):
        top.setdefault(token_text(piece), max(value, LEAST))
    return top


def token_text(piece: bytes) -> str:
    r"""Return the bytes of a token as text, or in OpenAI's form where they are not UTF-8: `bytes:\xe2\x82`."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
