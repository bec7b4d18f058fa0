"""What a workload asks of a server: which conversations begin when. Pure; the load generator sends them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from localrouter.bench.words import text

Message: TypeAlias = dict[str, str]
Fields: TypeAlias = dict[str, Any]

OPENAI: Fields = {"temperature": 1.0, "top_p": 1.0}
"""OpenAI's defaults: the whole vocabulary as the model weighs it."""
TOP_P: Fields = {"temperature": 1.0, "top_p": 0.95}
WHOLE: Fields = {"top_k": 0, "min_p": 0.0}
"""The same for llama-server, whose defaults cut the vocabulary to 40 tokens before anything else."""
ITEM: Fields = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["animal", "plant", "mineral"]},
        "score": {"type": "integer", "minimum": 0, "maximum": 1000},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
        "seen": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["name", "kind", "score", "tags", "seen"],
    "additionalProperties": False,
}
LIST: Fields = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": ITEM, "minItems": 100}},
    "required": ["items"],
    "additionalProperties": False,
}
SCHEMA: Fields = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "list", "schema": LIST, "strict": True}}
}
"""A list that is longer than an answer may be, so that every answer has as many tokens, whatever the model says."""
OWN = "many32-own"
"""The workload in which only llama-server differs from `many32`."""


@dataclass(frozen=True)
class Dialogue:
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
class WorkloadFigure:
    """One of the figures that tell how well a workload went: a field of `Figures`, and what it means."""

    figure: str
    meaning: str


@dataclass(frozen=True)
class Workload:
    """A way of using a server."""

    name: str
    make: Callable[[int], list[Dialogue]]
    """Seed to conversations. Another seed shares no text with it, so that no cache can help between two runs."""
    rows: tuple[WorkloadFigure, ...]
    ours: Fields = field(default_factory=OPENAI.copy)
    """How localrouter is asked to sample."""
    llama: Fields = field(default_factory=(OPENAI | WHOLE).copy)
    """How llama-server is asked to sample."""

    @property
    def others(self) -> Fields:
        """How any other server is asked to sample: fields that OpenAI has not are left out, and may be refused."""
        return {name: value for name, value in self.llama.items() if name not in WHOLE}


def single(seed: int) -> list[Dialogue]:
    """One stream alone."""
    return [Dialogue([text(32, seed)], 128)]


def batch8(seed: int) -> list[Dialogue]:
    """Eight streams that share nothing."""
    return [Dialogue([text(64, seed + number)], 48) for number in range(8)]


def shared16(seed: int) -> list[Dialogue]:
    """Sixteen streams behind one long system prompt that the server has never seen."""
    system = text(900, seed)
    return [Dialogue([text(12, seed + 1 + number)], 24, system) for number in range(16)]


def stall(seed: int) -> list[Dialogue]:
    """A stream is running when a long prompt arrives."""
    return [Dialogue([text(16, seed)], 400), Dialogue([text(1800, seed + 1)], 4, at=1.0)]


def long(seed: int) -> list[Dialogue]:
    """One long prompt."""
    return [Dialogue([text(1500, seed)], 4)]


def many32(seed: int) -> list[Dialogue]:
    """Thirty-two short streams: what the server itself costs per token."""
    return [Dialogue([text(16, seed + number)], 64) for number in range(32)]


def turns(seed: int) -> list[Dialogue]:
    """One conversation of six turns, each of which sends everything before it again."""
    return [Dialogue([text(60, seed + number) for number in range(6)], 24, text(300, seed + 6))]


_MANY = "32 streams at once, tokens per second together"

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "single",
            single,
            (
                WorkloadFigure("stream_rate", "one stream, tokens per second after the first"),
                WorkloadFigure("ttft_p50", "first token of one stream, ms"),
            ),
        ),
        Workload(
            "schema",
            single,
            (WorkloadFigure("stream_rate", "one stream that obeys a JSON schema, tokens per second after the first"),),
            ours=OPENAI | SCHEMA,
            llama=OPENAI | WHOLE | SCHEMA,
        ),
        Workload("batch8", batch8, (WorkloadFigure("rate", "8 streams at once, tokens per second together"),)),
        Workload(
            "shared16", shared16, (WorkloadFigure("wall", "16 streams behind one new 900-word system prompt, seconds"),)
        ),
        Workload(
            "stall",
            stall,
            (
                WorkloadFigure("gap_max", "longest silence of a stream while a prompt of 1,800 words is read, ms"),
                WorkloadFigure("wall", "both of them until they are complete, seconds"),
            ),
        ),
        Workload("long", long, (WorkloadFigure("ttft_p50", "first token after a prompt of 1,500 words, ms"),)),
        Workload("many32", many32, (WorkloadFigure("rate", _MANY),)),
        Workload(
            OWN, many32, (WorkloadFigure("rate", f"{_MANY}; llama-server with its own top_k 40 and min_p"),), llama={}
        ),
        Workload(
            "many32-top-p",
            many32,
            (WorkloadFigure("rate", f"{_MANY}; all with top_p 0.95"),),
            ours=TOP_P,
            llama=TOP_P | WHOLE,
        ),
        Workload(
            "turns",
            turns,
            (
                WorkloadFigure("wall", "a conversation of 6 turns, seconds"),
                WorkloadFigure("ttft_later", "first token of its turns 2 to 6, ms"),
            ),
        ),
    )
}
QUICK = ("single", "many32")
"""What a short run is made of."""
