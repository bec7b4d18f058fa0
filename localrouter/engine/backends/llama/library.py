"""Native library: ggml beneath llama.cpp, its kernels, and its log."""

import ctypes
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api
from llama_cpp._ggml import libggml_base_path

from localrouter.memory.devices import handles, listed

log = logging.getLogger(__name__)

ggml: ctypes.CDLL = api._lib  # noqa: SLF001
"""ggml as libllama uses it. A wheel holds libggml under three names; loading another one makes a second instance."""

_LEVELS = {4: logging.WARNING, 3: logging.INFO}  # GGML_LOG_LEVEL_ERROR and _WARN; all others become DEBUG
_ERROR = 4


def start() -> None:
    """Initialise the library, and clear the errors logged for an earlier model."""
    native_log.clear()
    api.llama_backend_init()
    if ggml.ggml_backend_reg_count() == 0:
        # A portable build has its kernels in separate libraries, and loads those that suit this machine best.
        ggml.ggml_backend_load_all_from_path(os.fsencode(libggml_base_path))


def device_handles(names: Sequence[str]) -> Any:
    """Return ggml's pointers to the devices of these names as llama.cpp takes them, an array that ends with NULL."""
    known = dict(zip((device.name for device in listed(ggml)), handles(ggml), strict=True))
    return (ctypes.c_void_p * (len(names) + 1))(*(known[name] for name in names), None)


def has_amx() -> bool:
    """Whether this build has AMX kernels, and this CPU has AMX."""
    return b"AMX_INT8 = 1" in api.llama_print_system_info()


class NativeLog:
    """Forwards llama.cpp's log to Python's, and collects its errors for the message of a failed load."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._callback = api.llama_log_callback(self._take)
        api.llama_log_set(self._callback, None)

    def clear(self) -> None:
        """Discard the errors so far: those that follow belong to another model."""
        self._errors.clear()

    def reason(self, path: Path) -> str:
        """Return the first error since `clear`, with the folder of the file left out."""
        text = self._errors[0] if self._errors else "it gave no reason."
        return text.replace(str(path), path.name).replace(str(path.parent), "…")

    def _take(self, level: int, text: bytes, _: object) -> None:
        line = text.decode(errors="replace").strip()
        if level == _ERROR:
            self._errors.append(line)
        if line:
            log.log(_LEVELS.get(level, logging.DEBUG), "llama.cpp: %s", line)


native_log = NativeLog()
"""Log callback of the process. llama.cpp may call it at any time, so it is never freed."""
