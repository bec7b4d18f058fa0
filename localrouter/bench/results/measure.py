"""One thing that was measured, on one or more programs, several times each."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

OURS = "localrouter"
PEER = "peer"
LIMIT = "limit"
"""Not a program: what bounds the figure, whoever computes."""


@dataclass
class Measure:
    """Samples by program: OURS, and maybe PEER and LIMIT."""

    name: str
    meaning: str
    higher_is_better: bool = True
    samples: dict[str, list[float]] = field(default_factory=dict)
    flaws: list[str] = field(default_factory=list)
    """What was wrong with streams that broke, with the program in front."""
    details: list[dict[str, Any]] = field(default_factory=list)
    """All figures of each run, for whoever wants more than the one that stands for it."""

    def add(self, program: str, value: float) -> None:
        """Add a sample."""
        self.samples.setdefault(program, []).append(value)

    def median(self, program: str) -> float | None:
        """Return the median of a program's samples; None when there are none."""
        samples = self.samples.get(program)
        return median(samples) if samples else None

    @property
    def key(self) -> str:
        """What tells it from every other measure of a run."""
        return f"{self.name}: {self.meaning}"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer's."""
        return self.times_better(self.median(PEER))

    def times_better(self, than: float | None) -> float | None:
        """Return how many times better our median is than another figure; None when there is nothing to compare."""
        ours = self.median(OURS)
        if not ours or not than:
            return None
        return ours / than if self.higher_is_better else than / ours

    def as_json(self) -> dict[str, Any]:
        """Return everything, for the results file."""
        return asdict(self) | {"median": {program: self.median(program) for program in self.samples}}
