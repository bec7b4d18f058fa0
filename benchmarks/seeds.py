"""Frequency of different outputs for the same seed when other requests run concurrently: `python -m benchmarks.seeds`.

Rounding depends on the rows of a batch, so that of equally likely tokens another one may be sampled. Nothing else may
differ: a request alone, in a new engine or with its prompt in the prefix cache, has the same output each time. This
benchmark counts both.
"""

import random
from pathlib import Path

import rich_click as click

import localrouter
from localrouter.bench.words import text
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Generate, Piece
from localrouter.load_options import LoadOptions

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
TOKENS = 64
MATES = 12


def prompt(words: str) -> list[Segment]:
    """Return a prompt with many possible outputs."""
    return [Segment(f"<|im_start|>user\nTell me a story {words}<|im_end|>\n<|im_start|>assistant\n", control=True)]


def answer(engine: Engine, seed: int, mates: list[Generate]) -> str:
    """Return the output of the request with this seed, submitted in the middle of `mates`."""
    middle = len(mates) // 2
    asked = Generate(0, GenerationRequest(prompt(text(3, seed)), Sampling(seed=seed), TOKENS))
    for command in (*mates[:middle], asked, *mates[middle:]):
        engine.submit(command)
    said = ""
    while not engine.is_idle:
        said += "".join(event.text for event in engine.step() if isinstance(event, Piece) and event.id == 0)
    return said


def mates(seed: int) -> list[Generate]:
    """Return concurrent requests, some of which end before this one and some after."""
    rng = random.Random(seed)
    return [
        Generate(
            number,
            GenerationRequest(prompt(text(rng.randint(1, 60), 1000 * seed + number)), Sampling(), rng.randint(5, 80)),
        )
        for number in range(1, rng.randint(1, MATES) + 1)
    ]


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False), default=str(DEMO))
@click.option("--count", default=100, show_default=True, help="Number of requests.")
def main(model: str, count: int) -> None:
    """Count the outputs of MODEL that differ."""

    def started() -> Engine:
        return Engine(LlamaBackend(model, LoadOptions(cells=16_384, max_sequences=MATES + 1)))

    engine, again = started(), started()
    alone = [answer(engine, seed, []) for seed in range(count)]
    cached = [answer(engine, seed, []) for seed in range(count)]
    restarted = [answer(again, seed, []) for seed in range(count)]
    beside = [answer(again, seed, mates(seed)) for seed in range(count)]
    for name, others in (("prompt in the cache", cached), ("started again", restarted), ("others beside it", beside)):
        different = sum(one != other for one, other in zip(alone, others, strict=True))
        click.echo(f"{name}: {different} of {count} outputs differ")


if __name__ == "__main__":
    main()
