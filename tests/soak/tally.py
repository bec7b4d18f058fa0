"""Statistics of a soak."""

from collections import Counter
from dataclasses import dataclass, field

from .reference import Verdict


@dataclass
class Tally:
    """Counts over all parts of a run."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    verdicts: list[Verdict] = field(default_factory=list)
    requests: int = 0
    preempted: int = 0
    evicted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    resident: list[int] = field(default_factory=list)
    """Resident memory in bytes after each part, when everything is freed."""
    descriptors: list[int] = field(default_factory=list)
    peak: int = 0
    """Largest resident memory in bytes at the end of a part."""

    def line(self, model: str) -> str:
        """Return all counts in one line."""
        ends = ", ".join(f"{count} {reason}" for reason, count in sorted(self.ends.items()))
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        tokens, differing = (sum(getattr(one, name) for one in self.verdicts) for name in ("tokens", "differing"))
        worst = max((one.worst / one.noise for one in self.verdicts), default=0.0)
        return (
            f"{model}: {self.requests} requests ({ends}); {self.preempted} preempted, "
            f"{self.evicted} evicted; {faults}; "
            f"cache hits {self.cached_tokens / max(1, self.prompt_tokens):.0%} of prompts; "
            f"{differing} of {tokens} greedy tokens differ, by {worst:.2f} of the noise at most; "
            f"{self.steps} steps, {self.seconds:.0f} s, {self.peak / 1e6:.0f} MB at most, "
            f"grown by {self.growth / 1e6:+.1f} MB"
        )

    @property
    def growth(self) -> int:
        """Bytes that resident memory grew by from the end of the first half to the end."""
        return self.resident[-1] - self.resident[len(self.resident) // 2 - 1]
