"""The interface of a loaded model that completions use."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from localrouter.engine.generation_request import GenerationRequest, Segment
from localrouter.engine.messages import Event, Tokens
from localrouter.engine.model_info import ModelInfo
from localrouter.schema.alias_defaults import AliasDefaults


class Generation(Protocol):
    """One output that an engine generates."""

    async def accepted(self) -> int:
        """Return the number of prompt tokens once the engine accepts the prompt; raise the error that rejects it."""

    def events(self) -> AsyncGenerator[list[Event], None]:
        """Yield lists of the events that arrived together; the last event is the one `Finished`."""

    def cancel(self) -> None:
        """Free its resources at once. Does nothing when the generation has ended."""


class LoadedEngine(Protocol):
    """A loaded model that generates outputs."""

    @property
    def model(self) -> str:
        """The full name of its build."""

    @property
    def info(self) -> ModelInfo:
        """Facts of the model; the same object for as long as the model is loaded."""

    def submit(self, request: GenerationRequest) -> Generation:
        """Hand a request in. Raises Overloaded when the queue is full."""

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a prompt. With `begin`, the token that begins a text is first, if the model has one."""

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return the bytes of tokens. Raises InvalidRequest for numbers outside of the vocabulary."""


@dataclass(frozen=True)
class LeasedEngine:
    """A loaded model under the name that one request has for it, with the defaults of the alias of this name."""

    engine: LoadedEngine
    name: str
    """Name of the model as the request has it, or the name that is used for a request without one."""
    defaults: AliasDefaults

    @property
    def model(self) -> str:
        """The full name of its build."""
        return self.engine.model

    @property
    def info(self) -> ModelInfo:
        """Facts of the model; the same object for as long as the model is loaded."""
        return self.engine.info

    def submit(self, request: GenerationRequest) -> Generation:
        """Hand a request in. Raises Overloaded when the queue is full."""
        return self.engine.submit(request)

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a prompt. With `begin`, the token that begins a text is first, if the model has one."""
        return await self.engine.tokenize(prompt, begin)

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return the bytes of tokens. Raises InvalidRequest for numbers outside of the vocabulary."""
        return await self.engine.detokenize(tokens)
