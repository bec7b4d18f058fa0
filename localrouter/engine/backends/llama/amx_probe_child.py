"""The child process of `amx_probe`: `python -m localrouter.engine.backends.llama.amx_probe_child`.

It prefills a short prompt with the embedded model and exits with 0 when the AMX kernels survive it.
"""

import os
from pathlib import Path

import localrouter
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions

MODEL = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
ROWS = 64


def main() -> None:
    """Prefill ROWS tokens in one step, which AMX kernels compute."""
    options = LoadOptions(cells=512, max_sequences=1, gpu_layers=0, threads=1, extra_buffers="on")
    backend = LlamaBackend(str(MODEL), options)
    backend.decode(Batch(list(range(ROWS)), list(range(ROWS)), [0] * ROWS, [ROWS - 1]))
    os._exit(0)  # skips the destructors of native threads, which are not what is probed


if __name__ == "__main__":
    main()
