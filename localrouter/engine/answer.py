"""What one request has said: from the bytes of its tokens to text that may be sent."""

from typing import NamedTuple

from localrouter.engine.detokenizer import Detokenizer
from localrouter.engine.logprobs import Logprobs
from localrouter.engine.messages import Logprob, Sampling
from localrouter.engine.runs import Marks, Run, Runs
from localrouter.engine.stop_strings import StopStrings
from localrouter.engine.thinking import Thoughts


class Said(NamedTuple):
    """Text to send, and the tokens it is made of where the request asks for them. Without text there are none."""

    text: str
    logprobs: tuple[Logprob, ...] = ()


class Answer:
    """Collects the tokens of one answer: no character is cut, and nothing of a stop string gets out.

    Stop strings are for what is said, so thoughts and calls of functions are not searched for them.
    """

    def __init__(self, sampling: Sampling, thoughts: Thoughts | None = None, call: Marks | None = None) -> None:
        """`call` is what stands around a call where `thoughts`, which know it then, are not watched."""
        self._detokenizer = Detokenizer()
        self._runs = thoughts or Runs(call=call)
        self._stops = StopStrings(sampling.stop) if sampling.stop else None
        self._logprobs = None if sampling.logprobs is None else Logprobs()

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string is complete. Everything before it has been returned then."""
        return self._stops is not None and self._stops.found

    @property
    def is_whole(self) -> bool:
        """Whether the tokens so far end with the end of a character."""
        return self._detokenizer.is_whole

    def feed(self, piece: bytes, logprob: Logprob | None = None) -> Said:
        """Return what can be sent after a token with these bytes. One without bytes is in no text, so not listed."""
        text = self._detokenizer.feed(piece)
        certain = self._certain(self._runs.feed(text))
        if self._logprobs is None:
            return Said(certain)
        if logprob is not None and piece:
            self._logprobs.add(logprob, len(text), whole=self._detokenizer.is_whole)
        return Said(*(self._logprobs.finish(certain) if self.is_stopped else self._logprobs.take(certain)))

    def flush(self) -> Said:
        """Return the rest at the end of the answer: what was held back, U+FFFD for a character never finished."""
        if self.is_stopped:
            return Said("")
        text = self._certain(self._runs.flush(self._detokenizer.flush()))
        if self._stops is not None:
            text += self._stops.flush()
        return Said(text) if self._logprobs is None else Said(*self._logprobs.finish(text))

    def _certain(self, runs: list[Run]) -> str:
        """Return what of this text comes before any stop string for certain."""
        if self._stops is None:
            return "".join(run.text for run in runs)
        certain = ""
        for run in runs:
            is_said = not (run.is_thought or run.is_call)
            certain += self._stops.feed(run.text) if is_said else self._stops.flush() + run.text
            if self._stops.found:
                break
        return certain
