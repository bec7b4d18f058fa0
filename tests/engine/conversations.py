"""Prompts and drivers that the engine's tests share."""

from dataclasses import replace
from pathlib import Path

from localrouter.bench.synthetic import synthetic_vocabulary
from localrouter.bench.synthetic.model_shapes import SHAPES
from localrouter.bench.synthetic.model_writer import write_model
from localrouter.engine.engine import Engine
from localrouter.engine.messages import Event, Finished, Generate, Piece, Sampling, Segment


def prompt(text: str) -> list[Segment]:
    """Return ChatML with one user message, in which `text` may spell control tokens."""
    return [Segment(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n", control=True)]


def ask(number: int, text: str, *, max_tokens: int | None = None) -> Generate:
    """Return the command that asks for an answer to `text`."""
    return Generate(number, prompt(text), Sampling(), max_tokens)


def run(engine: Engine, *commands: Generate) -> list[Event]:
    """Submit, step until the engine is idle, and return all events."""
    events = [engine.submit(command) for command in commands]
    while not engine.is_idle:
        events += engine.step()
        engine.scheduler.check()
    return events


def text_of(events: list[Event], number: int) -> str:
    """Return the whole text of one request."""
    return "".join(event.text for event in events if isinstance(event, Piece) and event.id == number)


def end_of(events: list[Event], number: int) -> Finished:
    """Return the one end of a request; it is also its last event."""
    own = [event for event in events if event.id == number]
    ends = [event for event in own if isinstance(event, Finished)]
    assert len(ends) == 1
    assert own[-1] is ends[0]
    return ends[0]


def forget(engine: Engine) -> None:
    """Free what is kept of requests that have ended."""
    while engine.scheduler.make_room():
        pass
    engine.step()
    archive = engine.scheduler.slots.host_store
    for handle in archive.handles if archive else ():
        engine.scheduler.slots.forget(handle)
    engine.step()


def small_model(folder: Path, name: str) -> str:
    """Write a random model of a kind of memory: attention, hybrid with recurrent layers, sliding window."""
    words = synthetic_vocabulary.made_up(4096)
    write_model(folder / "model.gguf", name, replace(SHAPES[name], vocabulary=words.size), words, seed=1)
    return str(folder / "model.gguf")
