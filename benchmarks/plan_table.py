"""Table of the memory that `localrouter plan` predicts and that llama.cpp allocates.

    python -m benchmarks.plan_table

The models have the shapes of real ones and zeros for weights: sparse files that take no space on disk.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.allocation import MIB, Allocated, Setup, measure
from benchmarks.hollow import write_hollow
from localrouter.bench.synthetic.model_shapes import HybridShape, SyntheticShape, WindowShape
from localrouter.bench.synthetic.synthetic_vocabulary import made_up
from localrouter.gguf.header import read_header
from localrouter.load_options import DEFAULTS, KvType
from localrouter.memory.plan import ROWS_ON_GPU, ContextParams, Memory, plan, sequences
from localrouter.memory.shape import shape_of_headers

VOCABULARY = 8192
"""Small, because a real one takes seconds to load; logits and embedding are computed the same way."""
CONTEXTS = (1024, 8192, 20_000)
KV_TYPES: tuple[KvType, ...] = ("f16", "q8_0")
SHAPES: Mapping[str, SyntheticShape] = {
    "qwen3": SyntheticShape("qwen3", 8, 1024, 16, 8, 128, 3072, vocabulary=VOCABULARY),
    "qwen35moe": HybridShape(
        "qwen35moe", 12, 1024, 16, 2, 256, 512, vocabulary=VOCABULARY,
        experts=32, experts_used=8, expert_feed_forward=256, state=128, groups=16, time_steps=32,
    ),
    "gemma4": WindowShape("gemma4", 12, 1280, 8, 2, 512, 5120, vocabulary=VOCABULARY, window=512, window_head=256),
}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Predicted and measured memory of one model with one context, in bytes."""

    name: str
    setup: Setup
    predicted: Memory
    measured: Allocated

    @property
    def pairs(self) -> Mapping[str, tuple[int, int]]:
        """Predicted and measured bytes by purpose."""
        ours, theirs = self.predicted, self.measured
        return {
            "weights": (ours.weights, theirs.model),
            "cache": (ours.cache, theirs.kv),
            "states": (ours.states, theirs.rs),
            "compute": (ours.compute, theirs.compute),
            "logits": (ours.logits, theirs.output),
            "total": (ours.total, sum((theirs.model, theirs.kv, theirs.rs, theirs.compute, theirs.output))),
        }


def setups() -> list[Setup]:
    """Return the contexts to try: with the engine's defaults, and with other settings."""
    plain = [Setup(cells, kv) for cells in CONTEXTS for kv in KV_TYPES]
    return [
        *plain,
        Setup(20_000, "q4_0", sequences=64),
        Setup(8192, sequences=1, rows=ROWS_ON_GPU),
        Setup(20_000, swa_full=False),
        Setup(8192, flash_attention=False),
        Setup(8192, rows=ROWS_ON_GPU, ubatch=128),
    ]


def compare(name: str, folder: Path) -> Iterator[Comparison]:
    """Yield the comparisons of one model, written to `folder`."""
    path = folder / f"{name}.gguf"
    write_hollow(path, name, SHAPES[name], made_up(VOCABULARY))
    shape = shape_of_headers([read_header(path)])
    tried = [replace(setup, sequences=sequences(shape, _params(setup))) for setup in setups()]
    for setup, measured in zip(tried, measure(path, tried), strict=True):
        yield Comparison(name, setup, plan(shape, _params(setup)).both, measured)
    path.unlink()


def _params(setup: Setup) -> ContextParams:
    return ContextParams(
        cells=setup.cells,
        sequences=setup.sequences,
        idle=0,
        rows=setup.rows,
        kv_type=setup.kv,
        swa_full=setup.swa_full,
        flash_attention=setup.flash_attention,
        ubatch=setup.ubatch,
    )


def _main() -> None:
    print("MiB, predicted/measured; last column: error of the total\n")
    titles = ("weights", "cache", "states", "compute", "logits", "total")
    print(f"{'model':10}{'cells':>6} {'kv':5}{'options':15}" + "".join(f" {title:>15}" for title in titles))
    with tempfile.TemporaryDirectory() as folder:
        for name in SHAPES:
            for found in compare(name, Path(folder)):
                print(_line(found), flush=True)


def _line(found: Comparison) -> str:
    setup = found.setup
    kind = "" if setup.swa_full else ", window"
    kind += "" if setup.flash_attention else ", no fa"
    kind += "" if setup.ubatch == DEFAULTS.ubatch else f", ubatch {setup.ubatch}"
    cells = [f"{ours / MIB:.1f}/{theirs / MIB:.1f}" for ours, theirs in found.pairs.values()]
    ours, theirs = found.pairs["total"]
    columns = "".join(f" {cell:>15}" for cell in cells)
    head = f"{found.name:10}{setup.cells:6} {setup.kv:5}{f'{setup.sequences} seq{kind}':19}"
    return f"{head}{columns} {100 * (ours / theirs - 1):+.1f} %"


if __name__ == "__main__":
    _main()
