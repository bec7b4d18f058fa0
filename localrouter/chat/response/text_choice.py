"""One choice of the older route: from the engine's events to the choices of its chunks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET

from localrouter.chat.response.choice import failure
from localrouter.chat.response.logprobs import LEAST, token_text
from localrouter.chat.response.prompt_logprobs import ScoredPrompt
from localrouter.chat.response.token_alignment import AlignedToken, TokenAlignment
from localrouter.engine.messages import Event, Finished, Logprob, Piece, TokenUsage
from localrouter.schema.text_completions import TextChoice, TextLogprobs


@dataclass(frozen=True)
class Opening:
    """The first part of a choice, which waits for the log probabilities of its prompt."""

    prompt: ScoredPrompt
    echoed: str
    """Text of the prompt, where the request asks for it; else empty."""
    logprobs: int | None
    """Likeliest tokens for each token of the echoed prompt, in the older form; None: no logprobs there."""
    prompt_logprobs: int | None
    """Likeliest tokens for each token of the prompt, in vLLM's form; None: not requested."""

    def choice(self, index: int) -> TextChoice:
        """Return the first part of the choice with this index."""
        ranked = UNSET if self.prompt_logprobs is None else self.prompt.vllm_form(self.prompt_logprobs)
        scored = None if self.logprobs is None else self.prompt.older_form(self.echoed, self.logprobs)
        return TextChoice(index, self.echoed, scored, prompt_logprobs=ranked)


class TextChoiceStream:
    """Turns the events of one choice, in their order, into chunk choices."""

    def __init__(self, index: int, *, has_logprobs: bool, opening: Opening | None = None) -> None:
        """`has_logprobs`: the request asks for logprobs. `opening`: the first part, where it waits for the prompt's."""
        self._index = index
        self._has_logprobs = has_logprobs
        self._opening = opening
        self._held: list[Event] = []
        """Events that wait for the opening."""
        self._alignment = TokenAlignment(len(opening.echoed) if opening else 0)
        self.usage: TokenUsage | None = None
        """Token counts of the engine, once the choice has ended."""

    def feed(self, events: Iterable[Event]) -> list[TextChoice]:
        """Return the chunk choices for events that arrived together: one for all text, one for the end.

        Raises EngineFailed or ShuttingDown when the engine has failed.
        """
        if self._opening is None:
            return self._read(events)
        self._held += events
        if not self._opening.prompt.is_complete:
            _check(self._held)
            return []
        held, opening = self._held, self._opening.choice(self._index)
        self._held, self._opening = [], None
        return [opening, *self._read(held)]

    def _read(self, events: Iterable[Event]) -> list[TextChoice]:
        pieces: list[Piece] = []
        end: Finished | None = None
        for event in events:
            if isinstance(event, Piece):
                pieces.append(event)
            elif isinstance(event, Finished):
                self.usage, end = event.usage, event
        text = "".join(piece.text for piece in pieces)
        tokens = [token for piece in pieces for token in self._alignment.add(piece)]
        choices = [self._choice(text, tokens)] if text or tokens else []
        if end is not None:
            choices.append(self._end(end))
        return choices

    def _end(self, end: Finished) -> TextChoice:
        if end.reason not in ("stop", "length"):
            raise failure(end)
        return self._choice("", [], end.reason)

    def _choice(
        self, text: str, tokens: Sequence[AlignedToken], finish_reason: Literal["stop", "length"] | None = None
    ) -> TextChoice:
        return TextChoice(self._index, text, _logprobs(tokens) if self._has_logprobs else None, finish_reason)


def _check(events: Iterable[Event]) -> None:
    """Raise the error of a generation that was cancelled or failed."""
    for event in events:
        if isinstance(event, Finished) and event.reason not in ("stop", "length"):
            raise failure(event)


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
