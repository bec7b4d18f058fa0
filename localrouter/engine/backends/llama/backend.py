"""One model and one context of llama.cpp.

A wrong argument to this API ends the process (a batch over `n_batch`, a sequence id over 255), so what goes in is
asserted here.
"""

import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp.llama_cpp as api
import numpy as np
from msgspec.structs import replace

from localrouter.engine.backends.base import BatchRefused, CacheFull, LoadError, Logits
from localrouter.engine.backends.llama import library
from localrouter.engine.backends.llama.capacity import limits_of
from localrouter.engine.backends.llama.exp_kernel import fastest_exponential
from localrouter.engine.backends.llama.library import native_log
from localrouter.engine.backends.llama.model import (
    architecture_of,
    as_loaded,
    is_recurrent,
    kernels_fit,
    machine_of,
    open_model,
    pool_of,
    shape_of_file,
)
from localrouter.engine.backends.llama.rows import Rows
from localrouter.engine.backends.llama.sampler_chains import SamplerChains, are_worth_it
from localrouter.engine.backends.llama.sampler_probe import device_sampling_works
from localrouter.engine.backends.llama.state_copies import StateCopies
from localrouter.engine.backends.llama.vocabulary import Vocabulary
from localrouter.engine.backends.threads import fewest_fast_threads, physical_cores
from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.messages import (
    ComputeDevice,
    Fallback,
    Loading,
    LoadOptions,
    ModelInfo,
    Segment,
    applicable,
    with_fallbacks,
)
from localrouter.engine.sampling.chain_params import ChainParams
from localrouter.engine.scheduling.batch import Batch
from localrouter.memory.machine import Machine
from localrouter.memory.plan import (
    KV_NUMBERS,
    Plan,
    largest_batch,
    slots,
    ubatch,
)
from localrouter.memory.pool import Pool

log = logging.getLogger(__name__)

_FLASH_ATTENTION = {
    "auto": api.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": api.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": api.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_TRIED_ROWS = 8
"""So many draws in a step are tried on a GPU."""
_REHEARSED_ROWS = 64
"""Tokens of the prompt that is computed at load where layers are on a GPU."""
_TIMED_WEIGHTS = 1 << 30
"""Above this many bytes every core helps, and timing would only make loading slower."""


class LlamaBackend:
    """A GGUF file, loaded."""

    def __init__(
        self,
        path: str,
        options: LoadOptions,
        chat_template: str | None = None,
        fallbacks: Sequence[Fallback] = (),
        on_loading: Callable[[Loading], None] = lambda _: None,
    ) -> None:
        """Load the GGUF at `path`, with this chat template in place of its own.

        Fallbacks for the devices in use go before the options. `on_loading` is called before the weights are read.
        Raises LoadError.
        """
        self._path = Path(path)
        self._view_of: tuple[int, int] = (0, 0)
        self._view: Logits = np.empty((0, 0), np.float32)
        self._chains: SamplerChains | None = None
        self.exp = fastest_exponential()
        library.start()
        machine = machine_of(options)
        ids = ",".join(gpu.device for gpu in machine.gpus)
        applied = applicable(options, fallbacks, ids)
        options = with_fallbacks(options, applied, ids)
        shape = shape_of_file(self._path)
        pool = pool_of(self._path, shape, options, machine)
        device = _device(machine, pool.gpu_layers, len(shape.layers) + 1)
        on_loading(Loading(device, options, applied))
        extra = options.extra_buffers == "on" or (options.extra_buffers == "auto" and kernels_fit(self._path, shape))
        self._model = open_model(
            self._path,
            gpus=machine.gpus,
            shares=pool.plan.options.shares,
            gpu_layers=pool.gpu_layers,
            extra_buffers=extra,
        )
        plan = as_loaded(pool.plan, self._model)
        self.limits = limits_of(plan, machine, options.cache_ram, recurrent=is_recurrent(self._model))
        self._recurrent = is_recurrent(self._model)
        self._window = int(api.llama_model_n_swa(self._model))
        self._open_context(plan, options)
        self._vocabulary = Vocabulary(self._model, chat_template)
        threads = self._choose_threads(options, on_gpu=pool.gpu_layers > 0)
        self._chains = self._choose_chains(options, pool, ids)
        self.info = replace(self._describe(pool, machine, threads), options=options, fallbacks=applied)
        if pool.gpu_layers:
            self._rehearse()
        log.debug("%s", self.info)

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return the tokens of a prompt. Only in control segments are marks recognised."""
        return self._vocabulary.tokenize(prompt, begin=begin)

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""
        return self._vocabulary.piece(token)

    def text(self, token: int) -> bytes:
        """Return the bytes that a token stands for; of a control token those by which it is written."""
        return self._vocabulary.text(token)

    def grammar_vocabulary(self) -> GrammarVocabulary:
        """Return what grammars have to know of the vocabulary."""
        return self._vocabulary.for_grammars()

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp counts the token among the ends of generation of this vocabulary."""
        return self._vocabulary.is_end(token)

    def decode(self, batch: Batch) -> Logits:
        """Compute the rows of `batch`; the logits are a view into llama.cpp's own memory."""
        assert 0 < len(batch) <= self._rows.capacity
        assert all(0 <= slot < self.limits.slots for slot in batch.slots)
        assert self.limits.pads_to_tile or not batch.padding, (
            "without a sequence to spare, rows of nobody would be somebody's"
        )
        if self._chains:
            self._chains.prepare(batch, [sequence.chain_params for sequence in batch.sampled])
        return self._decode(batch)

    def sampled_token(self, output: int) -> int | None:
        """Return what llama.cpp has drawn for an output. Raises NotFinite."""
        return self._chains.token(output) if self._chains else None

    def _decode(self, batch: Batch) -> Logits:
        code = 1
        if batch.padding:
            code = api.llama_decode(self._context, self._rows.fill(batch, batch.padding))
            api.llama_memory_seq_rm(self._memory, self._scratch, -1, -1)
        if code == 1:  # no room for the padding, or there is none
            code = api.llama_decode(self._context, self._rows.fill(batch))
        if code == 1:
            raise CacheFull
        if code == -1:
            raise BatchRefused("llama.cpp found the batch invalid")
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        return self._logits(len(batch.outputs))

    def _logits(self, outputs: int) -> Logits:
        size = self._vocabulary.size
        if outputs == 0:
            return np.empty((0, size), np.float32)
        pointer = api.llama_get_logits(self._context)
        where = (ctypes.addressof(pointer.contents), outputs)
        if self._view_of != where:  # making the view costs ten times as much as looking it up
            self._view_of, self._view = where, np.ctypeslib.as_array(pointer, shape=(outputs, size))
        return self._view

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Share cells, and look whether llama.cpp holds what was asked: a fork that is wrong computes nonsense."""
        assert 0 <= source < self.limits.slots
        assert 0 <= slot < self.limits.slots
        whole = self._recurrent and checkpoint is None
        api.llama_memory_seq_cp(self._memory, source, slot, -1 if whole else 0, -1 if whole else count)
        if checkpoint is not None:
            self._copies.bring_back_state(checkpoint, slot)
        right = self.cells_of(slot) == count and self._holds_enough(slot, count)
        if not right:
            # What a window has lost is no news; anything else is.
            level = logging.DEBUG if self._window else logging.WARNING
            first, last = api.llama_memory_seq_pos_min(self._memory, slot), self.cells_of(slot) - 1
            log.log(level, "a fork of %d tokens holds %d to %d", count, first, last)
            self.clear(slot)
        return right

    def _holds_enough(self, slot: int, count: int) -> bool:
        """Whether all is there that the token after `count` others sees, by the first position that is held.

        A recurrent state is held for its last position. With windows llama.cpp tells what sliding layers hold, without
        gaps up to the last position; the next token sees a window that begins `_window - 1` before its own position.
        Also where these layers have room for everything, llama.cpp gives cells before the window to others.
        """
        first = int(api.llama_memory_seq_pos_min(self._memory, slot))
        if self._recurrent:
            return first == count - 1
        return 0 <= first <= (max(0, count - self._window + 1) if self._window else 0)

    def keep_state(self, slot: int) -> Checkpoint | None:
        """Copy the recurrent state of a slot, or the windows of sliding layers, to memory of our own."""
        return self._copies.keep_state(slot)

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free the copy."""
        self._copies.discard_state(checkpoint)

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells to memory of our own."""
        assert 0 <= slot < self.limits.slots
        return self._copies.store(handle, slot, start, end)

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Bring cells back."""
        assert 0 <= slot < self.limits.slots
        return self.cells_of(slot) == start and self._copies.restore(handle, slot, start, end)

    def forget(self, handle: int) -> None:
        """Free a copy of cells."""
        self._copies.forget(handle)

    def clear(self, slot: int) -> None:
        """Free all cells of a slot."""
        assert 0 <= slot < self.limits.slots
        api.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def cells_of(self, slot: int) -> int:
        """Return how many positions llama.cpp itself holds for a slot. For tests."""
        return int(api.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def close(self) -> None:
        """Free context and model."""
        if self._chains:
            self._chains.close()
        api.llama_free(self._context)
        api.llama_model_free(self._model)

    def _open_context(self, plan: Plan, settings: LoadOptions) -> None:
        options, params = plan.options, api.llama_context_default_params()
        params.n_ctx = options.cells
        params.n_batch = largest_batch(plan.shape, options)
        params.n_ubatch = ubatch(plan.shape, options)
        params.n_seq_max = slots(plan.shape, options)
        # Rows with logits per ubatch; the default reserves a row of the vocabulary for every token of a batch.
        params.n_outputs_max = params.n_seq_max
        params.n_outputs_max_per_seq = 1
        params.kv_unified = True
        params.swa_full = options.swa_full
        params.type_k = params.type_v = KV_NUMBERS[options.kv]
        params.flash_attn_type = _FLASH_ATTENTION[settings.flash_attention]
        params.n_threads_batch = physical_cores()
        params.no_perf = True
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            raise LoadError(
                f"llama.cpp could not allocate a context of {options.cells} cells: {native_log.reason(self._path)}"
            )
        self._memory = api.llama_get_memory(self._context)
        self._scratch = params.n_seq_max - 1
        self._rows = Rows(params.n_batch, self._scratch)
        self._copies = StateCopies(self._context, self._scratch)

    def _choose_threads(self, options: LoadOptions, *, on_gpu: bool) -> int:
        cores = physical_cores()
        if options.threads or on_gpu or api.llama_model_size(self._model) > _TIMED_WEIGHTS:
            threads = options.threads or cores
        else:
            threads = fewest_fast_threads(cores, self._seconds_per_token)
        api.llama_set_n_threads(self._context, threads, options.threads or cores)
        return threads

    def _choose_chains(self, options: LoadOptions, pool: Pool, devices: str) -> SamplerChains | None:
        """Have llama.cpp sample where the logits are on a GPU, and trials show that it does so well, and faster."""
        holds_logits = pool.gpu_layers > int(api.llama_model_n_layer(self._model))
        if options.gpu_sampling == "off" or (options.gpu_sampling == "auto" and not holds_logits):
            return None
        if options.gpu_sampling == "auto" and not device_sampling_works(devices, self._vocabulary.size):
            return None
        chains = SamplerChains(self._context)
        if options.gpu_sampling == "on":
            return chains

        def decode(batch: Batch, chain_params_of_slots: Sequence[ChainParams | None]) -> Logits:
            for slot in batch.slots if batch.positions[0] == 0 else ():
                self.clear(slot)
            chains.prepare(batch, chain_params_of_slots)
            return self._decode(batch)

        rows = min(_TRIED_ROWS, self.limits.slots)
        helps = are_worth_it(chains, decode, rows)
        for slot in range(rows):
            self.clear(slot)
        if not helps:
            chains.close()
        return chains if helps else None

    def _rehearse(self) -> None:
        """Compute what a first request does, so that a device that cannot do it ends the worker before one comes."""
        rows = min(_REHEARSED_ROWS, self.limits.prefill_rows, self.limits.cells // 2)
        prompt = Batch(list(range(rows)), list(range(rows)), [0] * rows, [])
        self._decode(prompt)
        slots = [0]
        if self.limits.slots > 1 and self.fork(0, 1, rows, None):
            slots = [0, 1]
        for position in range(rows, rows + 2):
            step = Batch([0] * len(slots), [position] * len(slots), slots, list(range(len(slots))))
            logits = self._decode(step)
        if not np.isfinite(logits).all():
            log.warning("the first logits on %s are not finite", self.info.device.name)
        for slot in slots:
            self.clear(slot)

    def _seconds_per_token(self, threads: int) -> float:
        """Time one-row steps. The fastest of a few tells one thread from two, also on a busy machine."""
        api.llama_set_n_threads(self._context, threads, threads)
        seconds = []
        for position in range(8):
            begin = time.perf_counter()
            self.decode(Batch(tokens=[0], positions=[position], slots=[0], outputs=[0]))
            seconds.append(time.perf_counter() - begin)
        self.clear(0)
        return min(seconds)

    def _describe(self, pool: Pool, machine: Machine, threads: int) -> ModelInfo:
        return ModelInfo(
            architecture=architecture_of(self._model),
            context=pool.context,
            cells=self.limits.cells,
            max_sequences=self.limits.running,
            parameters=int(api.llama_model_n_params(self._model)),
            size=int(api.llama_model_size(self._model)),
            vocabulary=self._vocabulary.size,
            device=_device(machine, pool.gpu_layers, int(api.llama_model_n_layer(self._model)) + 1),
            threads=threads,
            chat_template=self._vocabulary.template or None,
            template_source=self._vocabulary.template_source,
            bos_token=self._vocabulary.bos,
            eos_token=self._vocabulary.eos,
            control_tokens=list(self._vocabulary.controls),
            special_tokens=self._vocabulary.special_tokens,
        )


def _device(machine: Machine, offloaded: int, layers: int) -> ComputeDevice:
    if not offloaded:
        return ComputeDevice("CPU", 0, layers)
    names, ids = ", ".join(gpu.name for gpu in machine.gpus), ",".join(gpu.device for gpu in machine.gpus)
    return ComputeDevice(names, min(offloaded, layers), layers, ids)
