"""What completions need of a loaded model."""

from collections.abc import AsyncGenerator
from typing import Protocol

from localrouter.engine.messages import Event, GenerationRequest, Segment, Tokens
from localrouter.engine.model_info import ModelInfo


class Generation(Protocol):
    """One answer inside an engine."""

    async def accepted(self) -> int:
        """Return the prompt's tokens once the engine took it; raise what it refused it with."""

    def events(self) -> AsyncGenerator[list[Event], None]:
        """Yield what happened since the last look; the last event is the one `Finished`."""

    def cancel(self) -> None:
        """Free what it holds, at once. Does nothing when it has ended."""


class LoadedEngine(Protocol):
    """A loaded model."""

    @property
    def model(self) -> str:
        """The full name of its build."""

    @property
    def info(self) -> ModelInfo:
        """What is known of it."""

    def submit(self, request: GenerationRequest) -> Generation:
        """Hand a request in. Raises Overloaded when the queue is full."""

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a prompt, the one that begins a text among them if `begin` and the model wants it."""

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return the bytes of tokens. Raises InvalidRequest for numbers that are no tokens."""
