"""Runtime of the evaluation: answers a list of chat requests with localrouter's engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.chat.prompt.template import compiled
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling
from localrouter.engine.messages import Event, Finished, Generate, Piece
from localrouter.load_options import LoadOptions
from training.turn import Message, Tool

CONTEXT = 4096


@dataclass(frozen=True)
class Request:
    """One chat request; `thinking` is the template's `enable_thinking`, None leaves it out."""

    messages: list[Message]
    tools: list[Tool] | None = None
    temperature: float = 0.0
    max_tokens: int = 120
    thinking: bool | None = None
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """Text of an output, its length in tokens, and whether the model ended it itself."""

    text: str
    tokens: int
    stopped: bool


class Completer(Protocol):
    """Interface of a runtime that answers chat requests."""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the answers in the order of the requests."""


class EngineCompleter:
    """The package's own engine in this process, on one thread, without a server."""

    def __init__(self, path: Path, together: int = 16) -> None:
        options = LoadOptions(context=CONTEXT, max_sequences=together, gpu_layers=0, threads=1)
        self._engine = Engine(LlamaBackend(str(path), options))
        self._template = compiled(ModelTemplate.of(self._engine.backend.info))

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Return the answers in the order of the requests; the engine computes several at a time."""
        texts = [""] * len(requests)
        ends: dict[int, Finished] = {}
        events: list[Event] = [self._engine.submit(self._command(i, request)) for i, request in enumerate(requests)]
        while len(ends) < len(requests):
            for event in events:
                if isinstance(event, Piece):
                    texts[event.id] += event.text
                elif isinstance(event, Finished):
                    ends[event.id] = event
            events = self._engine.step()
        return [_completion(text, ends[i]) for i, text in enumerate(texts)]

    def _command(self, number: int, request: Request) -> Generate:
        extra = {} if request.thinking is None else {"enable_thinking": request.thinking}
        prompt = self._template.render(request.messages, tools=request.tools, variables=extra)
        sampling = Sampling(temperature=request.temperature, seed=request.seed)
        return Generate(number, GenerationRequest(prompt, sampling, request.max_tokens))


def _completion(text: str, end: Finished) -> Completion:
    return Completion(text, end.usage.completion_tokens, end.reason == "stop")
