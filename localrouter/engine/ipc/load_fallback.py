"""Starts a worker with fallbacks for a model that fails with layers on a GPU.

A driver, or llama.cpp on it, may end the worker while it loads or with the first request. Then the model is started
with the next fallback, each once: sampling on the CPU, no flash attention, half of the layers, no GPU. Fallbacks after
a crash are stored by model file, device and version, in a small file of the user's state folder.
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
"""`WorkerProcess.start`, or a fake of it."""
_MAX_FILES = 256
"""Model files whose fallbacks are stored; the oldest are dropped first."""


def next_fallback(options: LoadOptions, loading: Loading, *, crashed: bool, why: str) -> Fallback | None:
    """Return the next fallback after a failure; None where none is left, or the operator has set the options.

    Only options at "auto" are replaced. A failure that llama.cpp reported, such as a lack of memory, leads to fewer
    layers at once.
    """
    used, device = loading.options, loading.device
    if not device.offloaded_layers:
        return None
    if crashed and options.gpu_sampling == used.gpu_sampling == "auto":
        return Fallback(device.ids, "gpu_sampling", "off", why)
    if crashed and options.flash_attention == used.flash_attention == "auto" and not options.needs_flash_attention:
        return Fallback(device.ids, "flash_attention", "off", why)
    if options.gpu_layers != "auto":
        return None
    fewer = device.offloaded_layers // 2 if used.gpu_layers == "auto" else 0
    if not fewer and options.require_gpu:
        return None
    return Fallback(device.ids, "gpu_layers", fewer, why)


class FallbackStore:
    """Fallbacks by model file, device and version, kept across restarts; an unreadable file is logged and ignored."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, model: str) -> tuple[Fallback, ...]:
        """Return the fallbacks stored for a model file."""
        return tuple(self._read().get(_key(model), ()))

    def remember(self, model: str, fallbacks: Sequence[Fallback]) -> None:
        """Store the fallbacks of a model file, in place of those before; the file is replaced atomically."""
        known = self._read()
        known.pop(_key(model), None)
        known[_key(model)] = list(fallbacks)
        kept = dict(list(known.items())[-_MAX_FILES:])
        draft = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(kept))
            draft.replace(self._path)
        except OSError as error:
            log.warning("fallbacks of %s are not stored: %s: %s", Path(model).name, self._path, error.strerror)

    def count(self) -> int:
        """Return the number of model files that have fallbacks."""
        return len(self._read())

    def forget(self) -> int:
        """Delete all fallbacks; return the number of model files that had some. Raises OSError."""
        count = self.count()
        self._path.unlink(missing_ok=True)
        return count

    def _read(self) -> dict[str, list[Fallback]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[Fallback]])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("stored fallbacks cannot be read, and are ignored: %s: %s", self._path, error)
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
    """Return a worker, started with one more fallback each time that it fails with layers on a GPU.

    Raises ModelLoadFailed when no fallback is left.
    """
    known = fallbacks = store.of(load.path)
    for each in known:
        log.info("%s on %s: stored fallback %s=%s: %s", Path(load.path).name, *_facts(each))
    seen: list[Loading] = []
    while True:
        try:
            command = msgspec.structs.replace(load, fallbacks=fallbacks)
            worker = await start(command, timeout=timeout, on_loading=seen.append)
        except OffloadFailed as failure:
            fallback = next_fallback(load.options, seen[-1], crashed=failure.crashed, why=failure.message)
            if fallback is None:
                raise
            _warn(load, fallback)
            fallbacks = (*fallbacks, fallback)
            known = (*known, fallback) if failure.crashed else known
        else:
            if known != store.of(load.path):
                store.remember(load.path, known)
            return worker


def learn_from_crash(load: Load, info: ModelInfo, fate: str, store: FallbackStore) -> Fallback | None:
    """Store and return the next fallback of a model whose worker crashed before it completed a request, if any."""
    loading = Loading(info.device, info.options, info.fallbacks)
    fallback = next_fallback(load.options, loading, crashed=True, why=f"The worker {fate} with its first request.")
    if fallback is not None:
        _warn(load, fallback)
        store.remember(load.path, (*store.of(load.path), fallback))
    return fallback


def _warn(load: Load, fallback: Fallback) -> None:
    log.warning("%s on %s: the next start has %s=%s: %s", Path(load.path).name, *_facts(fallback))


def _facts(each: Fallback) -> tuple[str, str, str | int, str]:
    return each.device, each.setting, each.value, each.why


def _key(model: str) -> str:
    """Return a hash of the model file and the versions, for which a fallback holds; each fallback names its device."""
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
