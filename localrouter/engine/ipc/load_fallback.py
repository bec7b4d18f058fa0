"""Safer settings for a model that fails with layers on a GPU: which comes next, and which are known to be needed.

A driver, or llama.cpp on it, may end the worker while it loads or with the first request. Then the model is started
with the next safer settings, each once: sampling on the CPU, no flash attention, half of the layers, no GPU. What a
crash has taught is remembered for the file, the device and the version, in a small file of the user's state folder.
"""

import hashlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

import localrouter
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.ipc.process import WorkerProcess
from localrouter.engine.messages import Load, Loading
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import OffloadFailed
from localrouter.load_options import LoadOptions

log = logging.getLogger(__name__)

Start = Callable[..., Awaitable[WorkerProcess]]
"""`WorkerProcess.start`, or what stands in for it in a test."""
_MOST_FILES = 256
"""Files whose fallbacks are remembered; the oldest are forgotten first."""


def next_fallback(asked: LoadOptions, loading: Loading, *, crashed: bool, why: str) -> Fallback | None:
    """Return what to give up next after a failure; None where nothing is left, or the operator has decided it.

    Only settings that were left at "auto" are given up. A failure that llama.cpp reported, as a lack of memory, is
    answered with fewer layers at once.
    """
    used, device = loading.options, loading.device
    if not device.offloaded_layers:
        return None
    if crashed and asked.gpu_sampling == used.gpu_sampling == "auto":
        return Fallback(device.ids, "gpu_sampling", "off", why)
    if crashed and asked.flash_attention == used.flash_attention == "auto" and asked.kv_type == "f16":
        return Fallback(device.ids, "flash_attention", "off", why)
    if asked.gpu_layers != "auto":
        return None
    fewer = device.offloaded_layers // 2 if used.gpu_layers == "auto" else 0
    if not fewer and asked.require_gpu:
        return None
    return Fallback(device.ids, "gpu_layers", fewer, why)


class FallbackStore:
    """Remembers fallbacks by file, device and version across restarts; a file that cannot be used is no error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, model: str) -> tuple[Fallback, ...]:
        """Return what is remembered for a model file."""
        return tuple(self._read().get(_key(model), ()))

    def remember(self, model: str, fallbacks: Sequence[Fallback]) -> None:
        """Write down what a model file needs from now on, in one piece."""
        known = self._read()
        known.pop(_key(model), None)
        known[_key(model)] = list(fallbacks)
        kept = dict(list(known.items())[-_MOST_FILES:])
        draft = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(kept))
            draft.replace(self._path)
        except OSError as error:
            log.warning("fallbacks are not remembered: %s: %s", self._path, error.strerror)

    def count(self) -> int:
        """Return for how many model files fallbacks are remembered."""
        return len(self._read())

    def forget(self) -> int:
        """Forget all fallbacks; return for how many model files there were some. Raises OSError."""
        count = self.count()
        self._path.unlink(missing_ok=True)
        return count

    def _read(self) -> dict[str, list[Fallback]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[Fallback]])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("remembered fallbacks cannot be read, and are not used: %s: %s", self._path, error)
            return {}


def default_store() -> FallbackStore:
    """Return the store in the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return FallbackStore(Path(state) / "localrouter" / "fallbacks.json")


async def start_with_fallbacks(
    load: Load,
    *,
    timeout: float,  # noqa: ASYNC109 - a limit that the caller's task outlives
    store: FallbackStore,
    start: Start = WorkerProcess.start,
) -> WorkerProcess:
    """Start a worker, with safer settings each time that it fails with layers on a GPU. Raises ModelLoadFailed."""
    known = fallbacks = store.of(load.path)
    for each in known:
        log.info("%s on %s: remembered %s=%s: %s", Path(load.path).name, *_words(each))
    seen: list[Loading] = []
    while True:
        try:
            command = msgspec.structs.replace(load, fallbacks=fallbacks)
            worker = await start(command, timeout=timeout, on_loading=seen.append)
        except OffloadFailed as failure:
            given_up = next_fallback(load.options, seen[-1], crashed=failure.crashed, why=failure.message)
            if given_up is None:
                raise
            _tell(load, given_up)
            fallbacks = (*fallbacks, given_up)
            known = (*known, given_up) if failure.crashed else known
        else:
            if known != store.of(load.path):
                store.remember(load.path, known)
            return worker


def learn_from_crash(load: Load, info: ModelInfo, fate: str, store: FallbackStore) -> Fallback | None:
    """Remember what to give up for a model whose worker died before it had answered any request."""
    loading = Loading(info.device, info.options, info.fallbacks)
    given_up = next_fallback(load.options, loading, crashed=True, why=f"The worker {fate} with its first request.")
    if given_up is not None:
        _tell(load, given_up)
        store.remember(load.path, (*store.of(load.path), given_up))
    return given_up


def _tell(load: Load, given_up: Fallback) -> None:
    log.warning("%s on %s: the next start has %s=%s: %s", Path(load.path).name, *_words(given_up))


def _words(each: Fallback) -> tuple[str, str, str | int, str]:
    return each.device, each.setting, each.value, each.why


def _key(model: str) -> str:
    """What has to be the same for a fallback to be needed again: file and versions; the device stands in each."""
    try:
        found = Path(model).stat()
        identity = f"{Path(model).resolve()} {found.st_size} {found.st_mtime_ns}"
    except OSError:
        identity = model
    try:
        native = version("llama-cpp-python")
    except PackageNotFoundError:
        native = "none"
    facts = json.dumps([identity, native, localrouter.__version__])
    return hashlib.sha256(facts.encode()).hexdigest()[:32]
