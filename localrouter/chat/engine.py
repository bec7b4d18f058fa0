"""What completions need of a loaded model."""

from collections.abc import AsyncGenerator
from typing import Protocol

from localrouter.engine.messages import Event, Grammar, ModelInfo, Sampling, Segment, Thinking, Tokens


class Generation(Protocol):
    """One answer inside an engine."""

    async def accepted(self) -> int:
        """Return the prompt's tokens once the engine took it; raise what it refused it with."""

    def events(self) -> AsyncGenerator[list[Event], None]:
        """Yield what happened since the last look; the last event is the one `Finished`."""

    def cancel(self) -> None:
        """Free what it holds, at once. Does nothing when it has ended."""


class Engine(Protocol):
    """A loaded model. `model` is the full name of its build."""

    @property
    def model(self) -> str: ...  # noqa: D102

    @property
    def info(self) -> ModelInfo: ...  # noqa: D102

    def submit(  # noqa: PLR0913 - what one request is made of
        self,
        prompt: list[Segment],
        sampling: Sampling,
        max_tokens: int | None,
        *,
        grammar: Grammar | None = None,
        thinking: Thinking | None = None,
        markers: tuple[str, ...] = (),
        tokens: list[int] | None = None,
    ) -> Generation:
        """Hand in a prompt, or its `tokens` as they are. Raises Overloaded when the queue is full."""

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a prompt, the one that begins a text among them if `begin` and the model wants it."""

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return the bytes of tokens. Raises InvalidRequest for numbers that are no tokens."""
