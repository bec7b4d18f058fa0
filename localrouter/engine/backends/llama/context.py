"""Opens a context of llama.cpp with the parameters of a memory plan."""

from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api

from localrouter.engine.backends.base import LoadError
from localrouter.engine.backends.llama.library import native_log
from localrouter.engine.backends.threads import physical_cores
from localrouter.load_options import Switch
from localrouter.memory.plan import KV_NUMBERS, Plan, largest_batch, outputs, slots, ubatch

_FLASH_ATTENTION = {
    "auto": api.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": api.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": api.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


def open_context(model: Any, plan: Plan, flash_attention: Switch, path: Path) -> Any:
    """Return a context of the model with as many sequences, cells and rows as planned. Raises LoadError.

    `path` is the model's file, whose folder is left out of the error.
    """
    shape, planned = plan.shape, plan.params
    params = api.llama_context_default_params()
    params.n_ctx = planned.cells
    params.n_batch = largest_batch(shape, planned)
    params.n_ubatch = ubatch(shape, planned)
    params.n_seq_max = slots(shape, planned)
    # Rows with logits per batch; the default reserves a row of the vocabulary for every token of a batch.
    params.n_outputs_max = outputs(shape, planned)
    params.n_outputs_max_per_seq = 1
    params.kv_unified = True
    params.swa_full = planned.swa_full
    params.type_k = params.type_v = KV_NUMBERS[planned.kv_type]
    params.flash_attn_type = _FLASH_ATTENTION[flash_attention]
    params.n_threads_batch = physical_cores()
    params.no_perf = True
    context = api.llama_init_from_model(model, params)
    if not context:
        raise LoadError(f"llama.cpp could not allocate a context of {planned.cells} cells: {native_log.reason(path)}")
    return context
