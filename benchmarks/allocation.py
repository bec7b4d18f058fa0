"""Memory that llama.cpp allocates for a model: a child process loads it and reads the sizes from llama.cpp's log.

python -m benchmarks.allocation MODEL.gguf '[{"cells": 4096, "kv": "f16"}]'
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localrouter.load_options import DEFAULTS, KvType
from localrouter.memory.plan import KV_NUMBERS, ROWS, SCORED_ROWS

MIB = 1 << 20
_BUFFER = re.compile(r"(\S+) +(model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")


@dataclass(frozen=True)
class Setup:
    """Parameters of a context; the others are those of `engine/backends/llama/backend.py`."""

    cells: int
    kv: KvType = "f16"
    sequences: int = 8
    rows: int = ROWS
    """Rows of a prompt in a batch, beside one row per sequence."""
    swa_full: bool = True
    flash_attention: bool = True
    ubatch: int = DEFAULTS.ubatch


@dataclass(frozen=True)
class Allocated:
    """Allocated bytes by purpose, over all devices."""

    model: int
    kv: int
    rs: int
    compute: int
    output: int


def measure(model: Path, setups: Sequence[Setup]) -> list[Allocated]:
    """Return the memory that llama.cpp allocates for each setup. Raises subprocess.CalledProcessError."""
    arguments = [str(model), json.dumps([asdict(setup) for setup in setups])]
    command = [sys.executable, "-m", "benchmarks.allocation", *arguments]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return [Allocated(**found) for found in json.loads(done.stdout)]


def _main() -> None:
    path, setups = sys.argv[1], [Setup(**each) for each in json.loads(sys.argv[2])]
    print(json.dumps([asdict(found) for found in _load(path, setups)]))


def _load(path: str, setups: Sequence[Setup]) -> list[Allocated]:
    """Load the model once and open a context for each setup. Runs in a process of its own only."""
    import llama_cpp.llama_cpp as api

    lines: list[str] = []
    log = api.llama_log_callback(lambda _level, text, _data: lines.append(text.decode(errors="replace")))
    api.llama_log_set(log, None)
    api.llama_backend_init()
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = False
    model = api.llama_model_load_from_file(path.encode(), params)
    assert model, "".join(lines)
    of_model = _sizes(lines)
    found = []
    for setup in setups:
        lines.clear()
        context = api.llama_init_from_model(model, _context_params(setup))
        assert context, "".join(lines)
        found.append(Allocated(**(of_model | _sizes(lines) | {"model": of_model["model"]})))
        api.llama_free(context)
    api.llama_model_free(model)
    return found


def _context_params(setup: Setup) -> Any:
    import llama_cpp.llama_cpp as api

    params = api.llama_context_default_params()
    params.n_ctx = setup.cells
    params.n_batch = setup.sequences + setup.rows
    params.n_ubatch = min(params.n_batch, setup.ubatch)
    params.n_seq_max = setup.sequences
    params.n_outputs_max = setup.sequences + SCORED_ROWS
    params.kv_unified = True
    params.swa_full = setup.swa_full
    params.type_k = params.type_v = KV_NUMBERS[setup.kv]
    params.flash_attn_type = -1 if setup.flash_attention else 0
    params.n_threads = params.n_threads_batch = 1
    return params


def _sizes(lines: list[str]) -> dict[str, int]:
    """Return the sums by kind of buffer. Of compute buffers, which may be logged repeatedly, the last size counts."""
    sizes = dict.fromkeys(("model", "kv", "rs", "compute", "output"), 0)
    compute: dict[str, int] = {}
    for device, kind, size in _BUFFER.findall("".join(lines)):
        if kind == "compute":
            compute[device] = int(float(size) * MIB)
        else:
            sizes[kind.lower()] += int(float(size) * MIB)
    return sizes | {"compute": sum(compute.values())}


if __name__ == "__main__":
    _main()
