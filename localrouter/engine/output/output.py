"""Output of one request: from the bytes of its tokens to spans of text that can be sent."""

from typing import NamedTuple

from localrouter.engine.generation_request import Sampling
from localrouter.engine.messages import Logprob
from localrouter.engine.output.detokenizer import Detokenizer
from localrouter.engine.output.pending_logprobs import Logprobs
from localrouter.engine.output.reasoning_budget import Reading
from localrouter.engine.output.spans import Span
from localrouter.engine.output.stop_strings import StopStrings


class OutputSpan(NamedTuple):
    """A span to send, with a text that is not empty, and its tokens where the request asks for logprobs."""

    span: Span
    logprobs: tuple[Logprob, ...] = ()


class Output:
    """Turns the tokens of one output into spans: no character is cut, and no part of a stop string is returned.

    Stop strings apply to text only: reasoning and tool calls are not searched for them, nor is text that becomes
    certain before `min_tokens` tokens.
    """

    def __init__(self, sampling: Sampling, reading: Reading | None = None) -> None:
        """Without a `reading` the whole output is text."""
        self._detokenizer = Detokenizer()
        self._reading = reading or Reading()
        self._stops = StopStrings(sampling.stop) if sampling.stop else None
        self._missing_tokens = sampling.min_tokens
        """Tokens before which no stop string is searched."""
        self._logprobs = None if sampling.logprobs is None else Logprobs()

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string is complete. All text before it has been returned then."""
        return self._stops is not None and self._stops.found

    @property
    def is_whole(self) -> bool:
        """Whether the tokens so far end with the end of a character."""
        return self._detokenizer.is_whole

    def feed(self, token: int, piece: bytes, logprob: Logprob | None = None) -> list[OutputSpan]:
        """Return the spans that can be sent after a token with these bytes.

        A token without bytes has no text, so its log probability is not listed.
        """
        self._missing_tokens -= 1
        text = self._detokenizer.feed(piece)
        certain = self._certain(self._reading.feed(text, token))
        if self._logprobs is None:
            return [OutputSpan(span) for span in certain]
        if logprob is not None and piece:
            self._logprobs.add(logprob, len(text), whole=self._detokenizer.is_whole)
        pairs = self._logprobs.finish(certain) if self.is_stopped else self._logprobs.take(certain)
        return [OutputSpan(*pair) for pair in pairs]

    def flush(self) -> list[OutputSpan]:
        """Return the rest at the end of the output: text that was held back, U+FFFD for an unfinished character."""
        if self.is_stopped:
            return []
        spans = self._certain(self._reading.flush(self._detokenizer.flush()))
        if self._stops is not None and (held := self._stops.flush()):
            spans.append(Span(held))
        if self._logprobs is None:
            return [OutputSpan(span) for span in spans]
        return [OutputSpan(*some) for some in self._logprobs.finish(spans)]

    def _certain(self, spans: list[Span]) -> list[Span]:
        """Return the part of these spans that cannot be in or after a stop string."""
        if self._stops is None or self._missing_tokens > 0:
            return spans
        certain: list[Span] = []
        for span in spans:
            if span.kind == "text":
                certain.append(Span(self._stops.feed(span.text)))
            else:
                certain += [Span(self._stops.flush()), span]
            if self._stops.found:
                break
        return [span for span in certain if span.text]
