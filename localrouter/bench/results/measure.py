"""Samples of one figure, for one or more programs."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

OURS = "localrouter"
PEER = "peer"
LIMIT = "limit"
"""Key of the limit of a figure, which holds for every program."""


@dataclass
class Measure:
    """Samples of one figure by program: OURS, and where they are known PEER and LIMIT."""

    name: str
    meaning: str
    higher_is_better: bool = True
    samples: dict[str, list[float]] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)
    """Flaws of broken streams, each preceded by the program."""
    details: list[dict[str, Any]] = field(default_factory=list)
    """All figures of each run."""

    def add(self, program: str, value: float) -> None:
        """Add a sample of a program."""
        self.samples.setdefault(program, []).append(value)

    def median(self, program: str) -> float | None:
        """Return the median of a program's samples; None when there are none."""
        samples = self.samples.get(program)
        return median(samples) if samples else None

    @property
    def key(self) -> str:
        """Text that identifies the measure within a run."""
        return f"{self.name}: {self.meaning}"

    @property
    def ratio(self) -> float | None:
        """How many times better the median of localrouter is than the peer's; None without a comparison."""
        return self.times_better(self.median(PEER))

    def times_better(self, than: float | None) -> float | None:
        """Return how many times better the median of localrouter is than `than`; None without a comparison."""
        ours = self.median(OURS)
        if not ours or not than:
            return None
        return ours / than if self.higher_is_better else than / ours

    def as_json(self) -> dict[str, Any]:
        """Return all fields and the medians as JSON data for the results file."""
        return asdict(self) | {"median": {program: self.median(program) for program in self.samples}}
