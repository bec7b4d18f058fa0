"""Prompts, and functions that drive an engine, for its tests."""

from dataclasses import replace
from pathlib import Path

from localrouter.bench.synthetic import synthetic_vocabulary
from localrouter.bench.synthetic.model_shapes import SHAPES
from localrouter.bench.synthetic.model_writer import write_model
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Event, Finished, Generate, Piece


def prompt(text: str) -> list[Segment]:
    """Return ChatML with one user message, in which `text` may spell control tokens."""
    return [Segment(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n", control=True)]


def ask(number: int, text: str, *, max_tokens: int | None = None) -> Generate:
    """Return a request with one user message."""
    return Generate(number, GenerationRequest(prompt(text), Sampling(), max_tokens))


def run(engine: Engine, *commands: Generate) -> list[Event]:
    """Submit requests, step until the engine is idle, and return all events."""
    events = [engine.submit(command) for command in commands]
    while not engine.is_idle:
        events += engine.step()
        engine.scheduler.check()
    return events


def text_of(events: list[Event], number: int) -> str:
    """Return the whole output of one request."""
    return "".join(event.text for event in events if isinstance(event, Piece) and event.id == number)


def end_of(events: list[Event], number: int) -> Finished:
    """Return the Finished of a request, after asserting that it is the only one and its last event."""
    own = [event for event in events if event.id == number]
    ends = [event for event in own if isinstance(event, Finished)]
    assert len(ends) == 1
    assert own[-1] is ends[0]
    return ends[0]


def forget(engine: Engine) -> None:
    """Free all that is cached or offloaded of requests that have ended."""
    while engine.scheduler.make_room():
        pass
    engine.step()
    engine.kv_cache.drop_offloaded()
    engine.step()


def small_model(folder: Path, name: str) -> str:
    """Write a model of random weights with the shape `name` into a folder, and return its path."""
    words = synthetic_vocabulary.made_up(4096)
    write_model(folder / "model.gguf", name, replace(SHAPES[name], vocabulary=words.size), words, seed=1)
    return str(folder / "model.gguf")
