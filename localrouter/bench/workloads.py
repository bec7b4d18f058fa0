"""Workloads: the conversations that a server is loaded with, their sampling fields and figures. Pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from localrouter.bench.words import text

Message: TypeAlias = dict[str, str]
Fields: TypeAlias = dict[str, Any]

OPENAI: Fields = {"temperature": 1.0, "top_p": 1.0}
"""OpenAI's default sampling fields: the whole vocabulary at temperature 1."""
TOP_P: Fields = {"temperature": 1.0, "top_p": 0.95}
WHOLE: Fields = {"top_k": 0, "min_p": 0.0}
"""Fields that switch off llama-server's defaults, which cut the vocabulary to 40 tokens first."""
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
"""Structured output of a list longer than `max_tokens`, so that every output has the same number of tokens."""
OWN = "many32-own"
"""The workload in which only llama-server differs from `many32`."""


@dataclass(frozen=True)
class Dialogue:
    """One conversation: each turn is sent when the response to the previous one is complete."""

    turns: list[str]
    max_tokens: int
    system: str | None = None
    at: float = 0.0
    """Seconds after the start of the workload."""

    def opening(self) -> list[Message]:
        """Return the messages before the first turn: the system prompt, if there is one."""
        return [] if self.system is None else [{"role": "system", "content": self.system}]


@dataclass(frozen=True)
class WorkloadFigure:
    """A figure reported for a workload: a field of `LoadFigures`, and its description."""

    figure: str
    meaning: str


@dataclass(frozen=True)
class Workload:
    """A workload: its conversations, sampling fields per server, and reported figures."""

    name: str
    make: Callable[[int], list[Dialogue]]
    """Function from a seed to conversations. Other seeds give other texts, so that no cache helps between runs."""
    rows: tuple[WorkloadFigure, ...]
    ours: Fields = field(default_factory=OPENAI.copy)
    """Sampling fields for localrouter."""
    llama: Fields = field(default_factory=(OPENAI | WHOLE).copy)
    """Sampling fields for llama-server."""

    @property
    def others(self) -> Fields:
        """Sampling fields for any other server: without those that OpenAI's API lacks, which may be rejected."""
        return {name: value for name, value in self.llama.items() if name not in WHOLE}


def single(seed: int) -> list[Dialogue]:
    """Return one conversation: a single stream."""
    return [Dialogue([text(32, seed)], 128)]


def batch8(seed: int) -> list[Dialogue]:
    """Return eight concurrent conversations without a common prefix."""
    return [Dialogue([text(64, seed + number)], 48) for number in range(8)]


def shared16(seed: int) -> list[Dialogue]:
    """Return sixteen concurrent conversations with the same long, uncached system prompt."""
    system = text(900, seed)
    return [Dialogue([text(12, seed + 1 + number)], 24, system) for number in range(16)]


def stall(seed: int) -> list[Dialogue]:
    """Return a long stream, and a long prompt that arrives while the stream runs."""
    return [Dialogue([text(16, seed)], 400), Dialogue([text(1800, seed + 1)], 4, at=1.0)]


def long(seed: int) -> list[Dialogue]:
    """Return one conversation with a long prompt."""
    return [Dialogue([text(1500, seed)], 4)]


def many32(seed: int) -> list[Dialogue]:
    """Return thirty-two short concurrent conversations, which show the server's overhead per token."""
    return [Dialogue([text(16, seed + number)], 64) for number in range(32)]


def turns(seed: int) -> list[Dialogue]:
    """Return one conversation of six turns, each of which repeats all earlier ones."""
    return [Dialogue([text(60, seed + number) for number in range(6)], 24, text(300, seed + 6))]


_MANY = "throughput of 32 concurrent streams, tokens per second"

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "single",
            single,
            (
                WorkloadFigure("stream_rate", "throughput of one stream after its first token, tokens per second"),
                WorkloadFigure("ttft_p50", "TTFT of one stream, ms"),
            ),
        ),
        Workload(
            "schema",
            single,
            (WorkloadFigure("stream_rate", "throughput of one stream with structured output, tokens per second"),),
            ours=OPENAI | SCHEMA,
            llama=OPENAI | WHOLE | SCHEMA,
        ),
        Workload("batch8", batch8, (WorkloadFigure("rate", "throughput of 8 concurrent streams, tokens per second"),)),
        Workload(
            "shared16",
            shared16,
            (WorkloadFigure("wall", "total time of 16 streams with one uncached system prompt of 900 words, seconds"),),
        ),
        Workload(
            "stall",
            stall,
            (
                WorkloadFigure("gap_max", "maximum ITL of a stream during the prefill of 1,800 words, ms"),
                WorkloadFigure("wall", "total time of both requests, seconds"),
            ),
        ),
        Workload("long", long, (WorkloadFigure("ttft_p50", "TTFT after a prompt of 1,500 words, ms"),)),
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
                WorkloadFigure("wall", "total time of a conversation of 6 turns, seconds"),
                WorkloadFigure("ttft_later", "TTFT of turns 2 to 6, ms"),
            ),
        ),
    )
}
QUICK = ("single", "many32")
"""Workloads of a run with --quick."""
