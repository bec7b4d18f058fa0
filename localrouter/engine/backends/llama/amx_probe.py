"""Probe of llama.cpp's AMX kernels in a child process, which a miscompiled kernel kills in place of the worker.

The child is named, not imported: it loads a model, and loading a model asks this probe.
"""

import logging
import subprocess
import sys
from functools import cache

log = logging.getLogger(__name__)

PATIENCE = 60
"""Seconds after which the probe counts as failed; it takes half a second."""


@cache
def amx_works() -> bool:
    """Whether this build of llama.cpp survives its AMX kernels on this CPU. Probed once per process."""
    command = [sys.executable, "-m", "localrouter.engine.backends.llama.amx_probe_child"]
    try:
        run = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        return False
    if run.returncode:
        log.warning(
            "the AMX kernels of this llama.cpp crash, so it runs without them; `make install` compiles good ones"
        )
    return run.returncode == 0
