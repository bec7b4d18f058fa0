"""What a workload asks of a server: which conversations begin when. Pure; `load.py` sends them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.words import text

Message: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """One conversation: each turn is asked when the answer to the one before is complete."""

    turns: list[str]
    max_tokens: int
    system: str | None = None
    at: float = 0.0
    """Seconds after the start of the workload."""

    def opening(self) -> list[Message]:
        """Return the messages that come before the first turn."""
        return [] if self.system is None else [{"role": "system", "content": self.system}]


@dataclass(frozen=True)
class Workload:
    """A way of using a server. `figure` is the field of `Figures` that tells how well it went."""

    name: str
    meaning: str
    figure: str
    make: Callable[[int], list[Conversation]]
    """Seed to conversations. Another seed shares no text with it, so that no cache can help between two runs."""


def single(seed: int) -> list[Conversation]:
    """One stream alone."""
    return [Conversation([text(32, seed)], 128)]


def batch8(seed: int) -> list[Conversation]:
    """Eight streams that share nothing."""
    return [Conversation([text(64, seed + number)], 48) for number in range(8)]


def shared16(seed: int) -> list[Conversation]:
    """Sixteen streams behind one long system prompt that the server has never seen."""
    system = text(900, seed)
    return [Conversation([text(12, seed + 1 + number)], 24, system) for number in range(16)]


def stall(seed: int) -> list[Conversation]:
    """A stream is running when a long prompt arrives."""
    return [Conversation([text(16, seed)], 400), Conversation([text(1800, seed + 1)], 4, at=1.0)]


def long(seed: int) -> list[Conversation]:
    """One long prompt."""
    return [Conversation([text(1500, seed)], 4)]


def many32(seed: int) -> list[Conversation]:
    """Thirty-two short streams: what the server itself costs per token."""
    return [Conversation([text(16, seed + number)], 64) for number in range(32)]


def turns(seed: int) -> list[Conversation]:
    """One conversation of six turns, each of which sends everything before it again."""
    return [Conversation([text(60, seed + number) for number in range(6)], 24, text(300, seed + 6))]


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("single", "one stream, tokens per second after the first", "stream_rate", single),
        Workload("batch8", "8 streams at once, tokens per second together", "rate", batch8),
        Workload("shared16", "16 streams behind one new 900-word system prompt, seconds", "wall", shared16),
        Workload("stall", "longest silence of a stream while a prompt of 1,800 words is read, ms", "gap_max", stall),
        Workload("long", "first token after a prompt of 1,500 words, ms", "ttft_p50", long),
        Workload("many32", "32 streams at once, tokens per second together", "rate", many32),
        Workload("turns", "first token of an answer in a conversation of 6 turns, ms", "ttft_p50", turns),
    )
}
