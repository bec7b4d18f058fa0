"""Figures of streams: throughput, time to first token (TTFT), inter-token latency (ITL), and broken streams."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, nan
from statistics import median

HIGHER_IS_BETTER = frozenset({"rate", "stream_rate"})
"""Figures for which a higher value is better; for all others a lower one is."""


@dataclass
class StreamTimes:
    """Arrival times and content of one streamed response. Times are in seconds; `began` is when it was requested."""

    began: float
    asked_tokens: int
    turn: int = 0
    """Turn of the conversation that the response belongs to, counted from 0."""
    texts: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Arrival time of each of `texts`."""
    finish_reasons: list[str] = field(default_factory=list)
    completion_tokens: int | None = None
    done: int = 0
    error: str | None = None

    @classmethod
    def parse(
        cls, began: float, asked_tokens: int, arrivals: Iterable[tuple[float, bytes]], *, turn: int = 0
    ) -> "StreamTimes":
        """Parse the bytes of an event stream. `arrivals` are the times and the bytes of each read."""
        stream = cls(began, asked_tokens, turn)
        for time, data in _events(arrivals):
            if data == b"[DONE]":
                stream.done += 1
            else:
                try:
                    stream._take(time, json.loads(data))
                except (ValueError, RecursionError):
                    stream.error = "an event is not JSON"
                except (AttributeError, TypeError):
                    stream.error = "an event is not a chunk"
        return stream

    def _take(self, time: float, chunk: dict[str, object]) -> None:
        match chunk:
            case {"error": {"message": message}}:
                self.error = str(message)
            case {"error": error}:
                self.error = str(error)
        match chunk.get("usage"):
            case {"completion_tokens": int(tokens)}:
                self.completion_tokens = tokens
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            delta = choice.get("delta") or {}
            text = delta.get("content") or delta.get("reasoning_content")
            if not isinstance(text, str | None):
                raise TypeError
            if text:
                self.texts.append(text)
                self.times.append(time)
            if choice.get("finish_reason"):
                self.finish_reasons.append(choice["finish_reason"])

    @property
    def text(self) -> str:
        """The whole text of the response."""
        return "".join(self.texts)

    @property
    def flaw(self) -> str | None:
        """Why the stream is broken, or None: it did not end exactly once, or its token count is impossible."""
        tokens = self.completion_tokens
        flaws = (
            (self.error is not None, self.error),
            (len(self.finish_reasons) != 1, f"{len(self.finish_reasons)} finish reasons"),
            (self.done != 1, f"{self.done} times [DONE]"),
            (tokens is None, "no usage"),
            (self.finish_reasons == ["length"] and tokens != self.asked_tokens, f"length after {tokens} tokens"),
            (not len(self.texts) <= (tokens or 0) <= self.asked_tokens, f"{len(self.texts)} pieces, {tokens} tokens"),
        )
        return next((flaw for is_so, flaw in flaws if is_so), None)

    @property
    def first(self) -> float | None:
        """Time to first token (TTFT) in milliseconds; None when no text arrived."""
        return 1000 * (self.times[0] - self.began) if self.times else None

    @property
    def rate(self) -> float | None:
        """Throughput between the first and the last token, in tokens per second; None with fewer than two tokens."""
        if len(self.times) < 2 or not self.completion_tokens:
            return None
        return (self.completion_tokens - 1) / max(self.times[-1] - self.times[0], 1e-9)


@dataclass(frozen=True)
class LoadFigures:
    """Figures of one run of a workload: time to first token (`ttft`) and inter-token latency (`gap`) in milliseconds,
    `wall` in seconds.
    """

    streams: int
    broken: int
    tokens: int
    wall: float
    rate: float
    """Throughput of all streams together in tokens per second, prefill time included."""
    stream_rate: float
    """Throughput of the median stream between its first and its last token, in tokens per second."""
    ttft_p50: float
    ttft_max: float
    ttft_later: float
    """Median TTFT of later turns of conversations, whose prompts repeat all earlier turns."""
    gap_p50: float
    gap_p99: float
    gap_max: float
    flaw: str | None = None
    """Flaw of the first broken stream."""

    @classmethod
    def of(cls, streams: list[StreamTimes], wall: float) -> "LoadFigures":
        """Return the figures of concurrent streams that took `wall` seconds."""
        flaws = [stream.flaw for stream in streams if stream.flaw is not None]
        tokens = sum(stream.completion_tokens or 0 for stream in streams)
        first = [(stream.turn, stream.first) for stream in streams if stream.first is not None]
        gaps = [1000 * (after - before) for stream in streams for before, after in pairwise(stream.times)]
        rates = [stream.rate for stream in streams if stream.rate is not None]
        return cls(
            streams=len(streams),
            broken=len(flaws),
            tokens=tokens,
            wall=wall,
            rate=tokens / wall,
            stream_rate=percentile(rates, 0.5),
            ttft_p50=percentile((time for _, time in first), 0.5),
            ttft_max=percentile((time for _, time in first), 1),
            ttft_later=percentile((time for turn, time in first if turn), 0.5),
            gap_p50=percentile(gaps, 0.5),
            gap_p99=percentile(gaps, 0.99),
            gap_max=percentile(gaps, 1),
            flaw=next(iter(flaws), None),
        )


def percentile(values: Iterable[float], share: float) -> float:
    """Return the percentile of `values` at `share` (nearest rank; 0.5 is the median); NaN without values."""
    ordered = sorted(values)
    if not ordered:
        return nan
    if share == 0.5:
        return median(ordered)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


def _events(arrivals: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Yield the arrival time and the data of each event, wherever the reads split the bytes."""
    pending = b""
    for time, received in arrivals:
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield time, line[5:].strip()
