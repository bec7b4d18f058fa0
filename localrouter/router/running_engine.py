"""Interfaces of a running engine and of the launcher that starts it, as the router needs them."""

from typing import Protocol

from localrouter.config import Settings
from localrouter.engine.generation_request import GenerationRequest, Segment
from localrouter.engine.ipc.client import WorkerGeneration
from localrouter.engine.messages import Gauge, Tokens
from localrouter.engine.model_info import ModelInfo
from localrouter.weights.catalog import ResolvedModel


class RunningEngine(Protocol):
    """Engine of a loaded model, as the router leases it to requests; `EngineClient` implements it."""

    model: str
    """Full name of the build."""
    gauge: Gauge
    """Load of the engine after its last step."""

    @property
    def info(self) -> ModelInfo:
        """Facts about the loaded model."""

    @property
    def in_flight(self) -> int:
        """Number of requests that have not ended yet."""

    @property
    def is_alive(self) -> bool:
        """Whether requests can be submitted."""

    def submit(self, request: GenerationRequest) -> WorkerGeneration:
        """Submit a request. Raises Overloaded when the queue is full, and EngineFailed."""

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a prompt, with `begin` the begin-of-text token included where the model wants one."""

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return the bytes of tokens of the vocabulary."""

    async def close(self) -> None:
        """Stop the engine; requests that still run end with an error."""


class Launcher(Protocol):
    """Function that starts the engine of a model; tests use fakes."""

    async def __call__(self, model: ResolvedModel, settings: Settings) -> RunningEngine:
        """Return a loaded engine. Raises ModelLoadFailed."""
