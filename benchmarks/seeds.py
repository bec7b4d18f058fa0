"""How often a request with a seed says something else when others run beside it: `python -m benchmarks.seeds`.

Rounding depends on which rows are computed together, so a token whose rivals are as good may be another one. Nothing
but that can differ: the same request alone, in an engine that was just started or one that has its prompt in the cache,
says the same each time. This counts both.
"""

import random
from pathlib import Path

import rich_click as click

import localrouter
from localrouter.bench.words import text
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.messages import Generate, GenerationRequest, Piece, Sampling, Segment
from localrouter.load_options import LoadOptions

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
TOKENS = 64
MATES = 12


def prompt(words: str) -> list[Segment]:
    """Return a question that many answers fit."""
    return [Segment(f"<|im_start|>user\nTell me a story {words}<|im_end|>\n<|im_start|>assistant\n", control=True)]


def answer(engine: Engine, seed: int, mates: list[Generate]) -> str:
    """Return what the request of this seed says while `mates` run, which it begins in the midst of."""
    middle = len(mates) // 2
    asked = Generate(0, GenerationRequest(prompt(text(3, seed)), Sampling(seed=seed), TOKENS))
    for command in (*mates[:middle], asked, *mates[middle:]):
        engine.submit(command)
    said = ""
    while not engine.is_idle:
        said += "".join(event.text for event in engine.step() if isinstance(event, Piece) and event.id == 0)
    return said


def mates(seed: int) -> list[Generate]:
    """Return other requests, some of which end before this one and some after."""
    draw = random.Random(seed)
    return [
        Generate(
            number,
            GenerationRequest(prompt(text(draw.randint(1, 60), 1000 * seed + number)), Sampling(), draw.randint(5, 80)),
        )
        for number in range(1, draw.randint(1, MATES) + 1)
    ]


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False), default=str(DEMO))
@click.option("--count", default=100, show_default=True, help="How many requests.")
def main(model: str, count: int) -> None:
    """Count the answers of MODEL that differ."""

    def started() -> Engine:
        return Engine(LlamaBackend(model, LoadOptions(cells=16_384, max_sequences=MATES + 1)))

    engine, again = started(), started()
    alone = [answer(engine, seed, []) for seed in range(count)]
    cached = [answer(engine, seed, []) for seed in range(count)]
    restarted = [answer(again, seed, []) for seed in range(count)]
    beside = [answer(again, seed, mates(seed)) for seed in range(count)]
    for name, others in (("prompt in the cache", cached), ("started again", restarted), ("others beside it", beside)):
        different = sum(one != other for one, other in zip(alone, others, strict=True))
        click.echo(f"{name}: {different} of {count} answers differ")


if __name__ == "__main__":
    main()
