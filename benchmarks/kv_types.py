"""Speed of a long conversation with each KV-cache setting, from which the defaults were chosen.

    python -m benchmarks.kv_types [qwen3-tiny qwen3-0.6b ...]

Every setting gets a context of its own, one after the other, in each round; medians are printed. A prompt of `CONTEXT`
tokens is prefilled, then continued one token at a time: first alone, then in a batch with seven copies of its KV cells,
which share nothing with it.
"""

import argparse
import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console

from localrouter.bench.environment import Environment
from localrouter.bench.synthetic.model_shapes import SHAPES
from localrouter.bench.synthetic.model_writer import synthetic_model
from localrouter.load_options import KvType
from localrouter.memory.plan import KV_NUMBERS

CONTEXT = 1536
STREAMS = 8
STEPS = 16
UBATCHES = (128, 256, 512)


@dataclass(frozen=True)
class Setting:
    """One setting. A quantized KV cache needs flash attention in llama.cpp, so other combinations are left out."""

    kv: KvType
    flash_attention: bool
    ubatch: int


@dataclass(frozen=True)
class Speed:
    """Speed of one setting in tokens per second."""

    prefill: float
    one: float
    """Throughput of one stream."""
    eight: float
    """Throughput of eight streams together."""


def settings() -> list[Setting]:
    """Return all settings, in the order of the table."""
    kinds: list[tuple[KvType, bool]] = [("f16", True), ("f16", False), ("q8_0", True), ("q4_0", True)]
    return [Setting(kv, flash_attention, ubatch) for kv, flash_attention in kinds for ubatch in UBATCHES]


class Model:
    """A GGUF loaded into this process, with one context at a time."""

    def __init__(self, path: str) -> None:
        import llama_cpp.llama_cpp as api  # native code, imported only where it is needed

        from localrouter.engine.backends.llama import library
        from localrouter.engine.backends.llama.rows import Rows
        from localrouter.engine.backends.threads import physical_cores

        library.start()
        self._api: Any = api
        self._threads = physical_cores()
        self._rows = Rows(max(UBATCHES))
        self._model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        assert self._model, path

    def measure(self, setting: Setting) -> Speed:
        """Return the speed of a context with this setting."""
        api = self._api
        context = self._open(setting)
        memory = api.llama_get_memory(context)
        prompt = [300 + 7 * position % 1000 for position in range(CONTEXT)]
        self._decode(context, prompt[: UBATCHES[0]], range(UBATCHES[0]), [0] * UBATCHES[0])  # warm
        api.llama_memory_seq_rm(memory, 0, -1, -1)
        begin = time.perf_counter()
        for start in range(0, CONTEXT, max(UBATCHES)):
            chunk = range(start, min(start + max(UBATCHES), CONTEXT))
            self._decode(context, [prompt[position] for position in chunk], chunk, [0] * len(chunk))
        prefill = CONTEXT / (time.perf_counter() - begin)
        one = self._generate(context, 1, CONTEXT)
        self._copy(context)
        eight = self._generate(context, STREAMS, CONTEXT + STEPS)
        api.llama_free(context)
        return Speed(prefill, one, eight)

    def _open(self, setting: Setting) -> Any:
        params = self._api.llama_context_default_params()
        params.n_ctx = STREAMS * (CONTEXT + 2 * STEPS)
        params.n_batch = max(UBATCHES)
        params.n_ubatch = setting.ubatch
        params.n_seq_max = params.n_outputs_max = STREAMS
        params.kv_unified = True
        params.type_k = params.type_v = KV_NUMBERS[setting.kv]
        params.flash_attn_type = int(setting.flash_attention)
        params.n_threads = params.n_threads_batch = self._threads
        context = self._api.llama_init_from_model(self._model, params)
        assert context, setting
        return context

    def _generate(self, context: Any, streams: int, position: int) -> float:
        """Return the throughput of `streams` streams in tokens per second, by the median step."""
        slots = list(range(streams))
        seconds = []
        for step in range(STEPS):
            begin = time.perf_counter()
            self._decode(context, [300 + slot for slot in slots], [position + step] * streams, slots, every=True)
            seconds.append(time.perf_counter() - begin)
        return streams / median(seconds)

    def _copy(self, context: Any) -> None:
        """Copy the KV cells of the first stream to every other one."""
        size = self._api.llama_state_seq_get_size(context, 0)
        state = (ctypes.c_uint8 * size)()
        self._api.llama_state_seq_get_data(context, state, size, 0)
        for slot in range(1, STREAMS):
            assert self._api.llama_state_seq_set_data(context, state, size, slot)

    def _decode(
        self, context: Any, tokens: list[int], positions: Sequence[int], slots: list[int], *, every: bool = False
    ) -> None:
        from localrouter.engine.scheduling.batch import Batch

        outputs = list(range(len(tokens))) if every else [len(tokens) - 1]
        code = self._api.llama_decode(context, self._rows.fill(Batch(tokens, [*positions], slots, outputs)))
        assert code == 0, code


def _table(name: str, rounds: dict[Setting, list[Speed]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [
        f"| {name} | flash attention | ubatch | prefill | 1 stream | {STREAMS} streams |",
        "|---|---|---|---|---|---|",
    ]
    for setting, speeds in rounds.items():
        figures = [median(getattr(speed, which) for speed in speeds) for which in ("prefill", "one", "eight")]
        cells = [setting.kv, "on" if setting.flash_attention else "off", str(setting.ubatch)]
        lines.append(f"| {' | '.join([*cells, *(f'{figure:.1f}' for figure in figures)])} |")
    return lines


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kv_types", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="SHAPE", help=f"default: qwen3-0.6b; of {', '.join(SHAPES)}")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; default: %(default)s")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    console.print(str(Environment.this()))
    for name in options.models or ["qwen3-0.6b"]:
        model = Model(str(synthetic_model(name, SHAPES[name])))
        rounds: dict[Setting, list[Speed]] = {setting: [] for setting in settings()}
        for number in range(options.repeat):
            for setting, speeds in rounds.items():
                speeds.append(model.measure(setting))
                console.print(f"{name}, round {number + 1} of {options.repeat}: {setting} {speeds[-1]}", style="dim")
        print("\n".join(_table(name, rounds)), flush=True)


if __name__ == "__main__":
    _main()
