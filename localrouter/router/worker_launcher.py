"""Launcher that starts a worker process for a build."""

import logging
from pathlib import Path

from localrouter.config import Settings
from localrouter.engine.ipc.client import EngineClient
from localrouter.engine.ipc.load_fallback import default_store, learn_from_crash, start_with_fallbacks
from localrouter.engine.messages import Load
from localrouter.errors import ModelLoadFailed
from localrouter.weights.catalog import ResolvedModel

log = logging.getLogger(__name__)


async def start_worker(model: ResolvedModel, settings: Settings) -> EngineClient:
    """Start a worker process for a build, and return its client. Raises ModelLoadFailed."""
    options = model.overrides.replace_in(settings.load_options)
    load = Load(model.path, model.backend, options, _template(model))
    store = default_store()
    worker = await start_with_fallbacks(load, timeout=settings.load_timeout, store=store)
    return EngineClient(
        model.model,
        worker,
        max_queue=settings.max_queue,
        on_early_crash=lambda fate: learn_from_crash(load, worker.info, fate, store),
    )


def _template(model: ResolvedModel) -> str | None:
    """Return the chat template that the manifest names, if any. Raises ModelLoadFailed where it cannot be read."""
    if model.chat_template is None:
        return None
    try:
        return Path(model.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        log.error("%s: its chat template %s cannot be read: %s", model.model, model.chat_template, error)
        reason = "the file with its chat template, which the manifest names, cannot be read"
        raise ModelLoadFailed(f"{model.model} cannot be loaded: {reason}.") from error
