"""Which engine answers for which model: makes sure it runs, hands it out, and unloads what stood idle for longest."""

from dataclasses import dataclass
from typing import Literal

from localrouter.engine.messages import Gauge, ModelInfo


@dataclass(frozen=True)
class EngineStatus:
    """One model that is in memory, or on its way there."""

    model: str
    state: Literal["loading", "ready"]
    info: ModelInfo | None
    gauge: Gauge
    in_flight: int
    """Requests that have not ended yet."""
    starts: int
    """How often its worker was started; more than one tells of crashes."""
    pid: int | None
