"""KV-cache usage, as the engine reports it after each step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CacheUsage:
    """Numbers of KV cells, by what they are used for."""

    running: int
    """Cells of running sequences, shared ones counted once."""
    cached: int
    """Cells that only idle slots hold."""
    offloaded: int
    """Cells that have a copy in host memory."""
