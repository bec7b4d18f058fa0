"""One model and one context of llama.cpp.

A wrong argument to this API ends the process (a batch over `n_batch`, a sequence id over 255), so arguments are
asserted here.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp.llama_cpp as api
import numpy as np

from localrouter.engine.backends.base import BatchRefused, CacheFull, Logits
from localrouter.engine.backends.llama import library
from localrouter.engine.backends.llama.capacity import limits_of
from localrouter.engine.backends.llama.context import open_context
from localrouter.engine.backends.llama.exp_kernel import fastest_exponential
from localrouter.engine.backends.llama.load_plan import LoadPlan, open_planned, plan_load
from localrouter.engine.backends.llama.logits_view import LogitsView
from localrouter.engine.backends.llama.model import architecture_of, as_loaded, is_recurrent
from localrouter.engine.backends.llama.rows import Rows
from localrouter.engine.backends.llama.sampler_chains import SamplerChains, sample_faster
from localrouter.engine.backends.llama.sampler_probe import device_sampling_works
from localrouter.engine.backends.llama.state_copies import StateCopies
from localrouter.engine.backends.llama.vocabulary import Vocabulary
from localrouter.engine.backends.threads import fewest_fast_threads, physical_cores
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.generation_request import Segment
from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.messages import Loading
from localrouter.engine.model_info import ModelInfo
from localrouter.engine.sampling.chain_params import ChainParams
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions
from localrouter.memory.plan import Plan, largest_batch, slots

log = logging.getLogger(__name__)

_PROBED_ROWS = 8
"""Rows of the steps that probe sampling on a GPU."""
_WARM_UP_ROWS = 64
"""Tokens of the prompt that is computed at load where layers are on a GPU."""
_TIMED_WEIGHTS = 1 << 30
"""Bytes of weights above which every core helps, and timing would only make loading slower."""


class LlamaBackend:
    """A loaded GGUF file with its KV cache."""

    def __init__(
        self,
        path: str,
        options: LoadOptions,
        chat_template: str | None = None,
        fallbacks: Sequence[Fallback] = (),
        on_loading: Callable[[Loading], None] = lambda _: None,
    ) -> None:
        """Load the GGUF file at `path`, with `chat_template` in place of its own.

        Fallbacks for the devices in use override the options. `on_loading` is called before the weights are read.
        Raises LoadError.
        """
        self._chains: SamplerChains | None = None
        self.exp = fastest_exponential()
        library.start()
        file = Path(path)
        planned = plan_load(file, options, fallbacks)
        on_loading(Loading(planned.device(len(planned.shape.layers) + 1), planned.options, planned.fallbacks))
        self._model = open_planned(file, planned)
        self._recurrent = is_recurrent(self._model)
        self._window = int(api.llama_model_n_swa(self._model))
        plan = as_loaded(planned.pool.plan, self._model)
        self.limits = limits_of(plan, planned.machine, planned.options.cache_ram, recurrent=self._recurrent)
        self._open_context(file, plan, planned.options)
        self._vocabulary = Vocabulary(self._model, chat_template)
        self._logits = LogitsView(self._context, self._vocabulary.size)
        threads = self._choose_threads(planned)
        self._chains = self._choose_chains(planned)
        self.info = self._describe(planned, threads)
        if planned.pool.gpu_layers:
            self._warm_up()
        log.debug("%s", self.info)

    def tokenize(self, prompt: list[Segment], *, begin: bool = True) -> list[int]:
        """Return the tokens of a prompt. Special tokens are recognised in control segments only."""
        return self._vocabulary.tokenize(prompt, begin=begin)

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""
        return self._vocabulary.piece(token)

    def text(self, token: int) -> bytes:
        """Return the bytes that a token stands for; for a control token the bytes of its spelling."""
        return self._vocabulary.text(token)

    def grammar_vocabulary(self) -> GrammarVocabulary:
        """Return the vocabulary in the form that grammars need."""
        return self._vocabulary.for_grammars()

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp counts the token among the ends of generation of this vocabulary."""
        return self._vocabulary.is_end(token)

    @property
    def end_tokens(self) -> Sequence[int]:
        """All tokens for which `is_end` is true."""
        return self._vocabulary.ends

    def decode(self, batch: Batch) -> Logits:
        """Compute the rows of `batch`; the logits are a view into llama.cpp's own memory."""
        assert 0 < len(batch) <= self._rows.capacity
        assert len(batch.outputs) <= self.limits.max_outputs
        assert all(0 <= slot < self.limits.slots for slot in batch.slots)
        assert self.limits.pads_to_tile or not batch.padding, (
            "padding needs a scratch sequence: its rows would go to a request's"
        )
        if self._chains:
            self._chains.prepare(batch, _chain_params(batch))
        return self._decode(batch)

    def sampled_token(self, output: int) -> int | None:
        """Return the token that llama.cpp sampled for an output, None without a sampler chain. Raises NotFinite."""
        return self._chains.token(output) if self._chains else None

    def _decode(self, batch: Batch) -> Logits:
        code = 1
        if batch.padding:
            code = api.llama_decode(self._context, self._rows.fill(batch, batch.padding))
            api.llama_memory_seq_rm(self._memory, self._scratch, -1, -1)
        if code == 1:  # no free cells for the padding, or no padding
            code = api.llama_decode(self._context, self._rows.fill(batch))
        if code == 1:
            raise CacheFull
        if code == -1:
            raise BatchRefused("llama.cpp found the batch invalid")
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        return self._logits.rows(len(batch.outputs))

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Share cells, and check that llama.cpp holds all that were asked for: a wrong fork computes wrong logits."""
        assert 0 <= source < self.limits.slots
        assert 0 <= slot < self.limits.slots
        whole = self._recurrent and checkpoint is None
        api.llama_memory_seq_cp(self._memory, source, slot, -1 if whole else 0, -1 if whole else count)
        if checkpoint is not None:
            self._copies.restore_state(checkpoint, slot)
        right = self.cells_of(slot) == count and self._holds_enough(slot, count)
        if not right:
            # Sliding layers are expected to lose cells before their window; a loss anywhere else is a fault.
            level = logging.DEBUG if self._window else logging.WARNING
            first, last = api.llama_memory_seq_pos_min(self._memory, slot), self.cells_of(slot) - 1
            log.log(level, "fork of slot %d to %d: asked for %d tokens, got %d to %d", source, slot, count, first, last)
            self.clear(slot)
        return right

    def _holds_enough(self, slot: int, count: int) -> bool:
        """Whether a slot holds all cells that the token at position `count` attends to, by its first position.

        A recurrent state is held for its last position. With windows llama.cpp reports what sliding layers hold,
        without gaps up to the last position; the next token attends to a window that begins `_window - 1` before its
        own position. Even where these layers have cells for the whole context, llama.cpp reuses those before the
        window.
        """
        first = int(api.llama_memory_seq_pos_min(self._memory, slot))
        if self._recurrent:
            return first == count - 1
        return 0 <= first <= (max(0, count - self._window + 1) if self._window else 0)

    def save_state(self, slot: int) -> Checkpoint | None:
        """Copy the recurrent state of a slot, or the windows of sliding layers, to RAM; None without memory for it."""
        return self._copies.save_state(slot)

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free a copy that `save_state` made."""
        self._copies.discard_state(checkpoint)

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells to the host store in RAM; False without memory for it."""
        assert 0 <= slot < self.limits.slots
        return self._copies.store(handle, slot, start, end)

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells back from the host store; False when there is no such copy, or no room for it."""
        assert 0 <= slot < self.limits.slots
        return self.cells_of(slot) == start and self._copies.restore(handle, slot, start, end)

    def forget(self, handle: int) -> None:
        """Free a copy of cells, if there is one."""
        self._copies.forget(handle)

    def clear(self, slot: int) -> None:
        """Free all cells of a slot."""
        assert 0 <= slot < self.limits.slots
        api.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def cells_of(self, slot: int) -> int:
        """Return how many positions llama.cpp holds for a slot."""
        return int(api.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def close(self) -> None:
        """Free the context and the model."""
        if self._chains:
            self._chains.close()
        api.llama_free(self._context)
        api.llama_model_free(self._model)

    def _open_context(self, path: Path, plan: Plan, options: LoadOptions) -> None:
        self._context = open_context(self._model, plan, options.flash_attention, path)
        self._memory = api.llama_get_memory(self._context)
        self._scratch = slots(plan.shape, plan.params) - 1
        self._rows = Rows(largest_batch(plan.shape, plan.params), self._scratch)
        self._copies = StateCopies(self._context, self._scratch)

    def _choose_threads(self, planned: LoadPlan) -> int:
        """Set the threads for prefill and for decoding, and return those for decoding."""
        cores, wanted = physical_cores(), planned.options.threads
        if wanted or planned.pool.gpu_layers or api.llama_model_size(self._model) > _TIMED_WEIGHTS:
            threads = wanted or cores
        else:
            threads = fewest_fast_threads(cores, self._seconds_per_token)
        api.llama_set_n_threads(self._context, threads, wanted or cores)
        return threads

    def _choose_chains(self, planned: LoadPlan) -> SamplerChains | None:
        """Return sampler chains where the logits are on a GPU and probes show correct tokens in less time."""
        wanted = planned.options.gpu_sampling
        holds_logits = planned.pool.gpu_layers > int(api.llama_model_n_layer(self._model))
        if wanted == "off" or (wanted == "auto" and not holds_logits):
            return None
        if wanted == "auto" and not device_sampling_works(planned.device_ids, self._vocabulary.size):
            return None
        chains = SamplerChains(self._context)
        if wanted == "on" or self._are_faster(chains):
            return chains
        chains.close()
        return None

    def _are_faster(self, chains: SamplerChains) -> bool:
        """Whether steps of several rows take less time with sampler chains, and sample the same tokens."""
        rows = min(_PROBED_ROWS, self.limits.slots)

        def decode(batch: Batch, chain_params_of_slots: Sequence[ChainParams | None]) -> Logits:
            for slot in batch.slots if batch.positions[0] == 0 else ():
                self.clear(slot)
            chains.prepare(batch, chain_params_of_slots)
            return self._decode(batch)

        faster = sample_faster(chains, decode, rows)
        for slot in range(rows):
            self.clear(slot)
        return faster

    def _warm_up(self) -> None:
        """Compute what a first request computes, so that a device that fails ends the worker before requests come."""
        rows = min(_WARM_UP_ROWS, self.limits.prefill_rows, self.limits.cells // 2)
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
        """Return the seconds of the fastest of a few one-row steps, which a busy machine disturbs least."""
        api.llama_set_n_threads(self._context, threads, threads)
        seconds = []
        for position in range(8):
            begin = time.perf_counter()
            self.decode(Batch(tokens=[0], positions=[position], slots=[0], outputs=[0]))
            seconds.append(time.perf_counter() - begin)
        self.clear(0)
        return min(seconds)

    def _describe(self, planned: LoadPlan, threads: int) -> ModelInfo:
        return ModelInfo(
            architecture=architecture_of(self._model),
            context=planned.pool.context,
            cells=self.limits.cells,
            max_sequences=self.limits.running,
            parameters=int(api.llama_model_n_params(self._model)),
            size=int(api.llama_model_size(self._model)),
            vocabulary=self._vocabulary.size,
            device=planned.device(int(api.llama_model_n_layer(self._model)) + 1),
            threads=threads,
            chat_template=self._vocabulary.template or None,
            template_source=self._vocabulary.template_source,
            bos_token=self._vocabulary.bos,
            eos_token=self._vocabulary.eos,
            control_tokens=list(self._vocabulary.controls),
            special_tokens=self._vocabulary.special_tokens,
            fim=self._vocabulary.fim,
            pad_token=self._vocabulary.pad,
            options=planned.options,
            fallbacks=planned.fallbacks,
        )


def _chain_params(batch: Batch) -> list[ChainParams | None]:
    """Return the parameters of a sampler chain for each output of a batch; None for those of scored prompts."""
    params: list[ChainParams | None] = [None] * len(batch.outputs)
    for sequence, output in zip(batch.sampled, batch.sampled_outputs, strict=True):
        params[output] = sequence.chain_params
    return params
