"""Tries llama.cpp's AMX kernels in a process of their own: where a compiler has broken them, they end it.

`python -m localrouter.engine.probe` reads a short prompt with the embedded model, and exits with 0 when it survives.
"""

import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import localrouter
from localrouter.engine.batch import Batch
from localrouter.engine.messages import LoadOptions

log = logging.getLogger(__name__)

MODEL = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
ROWS = 64
PATIENCE = 60
"""Seconds after which a try counts as failed; it takes half of one."""


@cache
def amx_works() -> bool:
    """Whether this build of llama.cpp survives its AMX kernels on this CPU. Tried once in the life of a process."""
    command = [sys.executable, "-m", "localrouter.engine.probe"]
    try:
        run = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        return False
    if run.returncode:
        log.warning(
            "the AMX kernels of this llama.cpp crash, so it runs without them; `make install` compiles good ones"
        )
    return run.returncode == 0


def main() -> None:
    """Compute a prompt with the kernels in question."""
    from localrouter.engine.llama.backend import LlamaBackend  # noqa: PLC0415 - it asks this module in turn

    options = LoadOptions(cells=512, max_sequences=1, gpu_layers=0, threads=1, extra_buffers="on")
    backend = LlamaBackend(str(MODEL), options)
    backend.decode(Batch(list(range(ROWS)), list(range(ROWS)), [0] * ROWS, [ROWS - 1]))
    os._exit(0)  # what native threads do at the end of the interpreter is not in question


if __name__ == "__main__":
    main()
