"""The backend that computes with llama.cpp. The only module that imports it, and only ever inside a worker process.

A wrong argument to this API ends the process (a batch over `n_batch`, a sequence id over 255), so what goes in is
asserted here.
"""

import ctypes
import logging
import os
import time
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np
from llama_cpp._ggml import libggml_base_path

from localrouter.engine import placement
from localrouter.engine.backend import BatchRefused, CacheFull, LoadError, Logits
from localrouter.engine.devices import Gpu, gpus
from localrouter.engine.messages import Device, LoadOptions, ModelInfo, Segment
from localrouter.engine.probe import amx_works
from localrouter.engine.scheduler import Batch, Limits

log = logging.getLogger(__name__)

RECURRENT_SEQUENCES = 8
"""Recurrent states are allocated for every sequence up front, 60 to 80 MB each in the large Qwen hybrids."""
_ROWS_ON_GPU = 512
"""A GPU reads hundreds of prompt tokens in the time of one step; a CPU takes a quarter of a second for 64."""
_ggml: ctypes.CDLL = api._lib  # noqa: SLF001
"""ggml as libllama sees it. A wheel holds libggml under three names, and loading another of them makes a second one."""
_TIMED_WEIGHTS = 1 << 30
"""Above this many bytes every core helps, and timing would only make loading slower."""


class LlamaBackend:
    """One model and one context of llama.cpp."""

    def __init__(self, path: str, options: LoadOptions) -> None:
        """Load the GGUF at `path`. Raises LoadError."""
        self._path = Path(path)
        _native_log.forget()
        self._view_of: tuple[int, int] = (0, 0)
        self._view: Logits = np.empty((0, 0), np.float32)
        api.llama_backend_init()
        _load_backends()
        devices = gpus(_ggml)
        _require_gpu(options, devices)
        gpu_free = sum(gpu.free for gpu in devices) if devices else None
        free = gpu_free or placement.free_memory()
        self._extra_buffers = options.extra_buffers == "on" or (options.extra_buffers == "auto" and self._kernels_fit())
        layers = self._layers_on_gpu(options, gpu_free)
        self._model = self._open_model(n_gpu_layers=layers)
        facts = _Facts(self._model, self._path)
        context, cells = _cache_size(options, facts, free)
        self.limits = Limits(
            cells=cells,
            slots=min(options.max_sequences, RECURRENT_SEQUENCES) if facts.recurrent else options.max_sequences,
            prefill_rows=_ROWS_ON_GPU if layers else Limits.prefill_rows,
            shared_rows=_ROWS_ON_GPU if layers else Limits.shared_rows,
            one_prompt=facts.recurrent,
        )
        self._open_context()
        self._open_vocabulary()
        threads = self._choose_threads(options, facts, on_gpu=layers > 0)
        self.info = self._describe(facts, context, _device(devices, layers, facts.shape.layers + 1), threads)
        log.debug("%s", self.info)

    def tokenize(self, prompt: list[Segment]) -> list[int]:
        """Return the tokens of a prompt. Only in control segments are control tokens recognised."""
        tokens: list[int] = []
        for segment in prompt:
            tokens += self._tokenize(segment.text.encode(), segment.control)
        begin = api.llama_vocab_bos(self._vocabulary)
        if api.llama_vocab_get_add_bos(self._vocabulary) and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        return tokens

    def _tokenize(self, text: bytes, control: bool) -> list[int]:
        room = len(text) + 16
        buffer = (api.llama_token * room)()
        count = api.llama_tokenize(self._vocabulary, text, len(text), buffer, room, False, control)
        assert count >= 0, "no tokenizer makes more tokens than bytes"
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes that a token stands for; none for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(256)
            length = api.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
            if length < 0:
                buffer = ctypes.create_string_buffer(-length)
                length = api.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
            known = self._pieces[token] = buffer.raw[:length]
        return known

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp counts the token among the ends of generation of this vocabulary."""
        known = self._ends.get(token)
        if known is None:
            known = self._ends[token] = bool(api.llama_vocab_is_eog(self._vocabulary, token))
        return known

    def decode(self, batch: Batch) -> Logits:
        """Compute the rows of `batch`; the logits are a view into llama.cpp's own memory."""
        rows = len(batch)
        assert 0 < rows <= self._rows.capacity
        assert all(0 <= slot < self.limits.slots for slot in batch.slots)
        code = api.llama_decode(self._context, self._rows.fill(batch))
        if code == 1:
            raise CacheFull
        if code == -1:
            raise BatchRefused("llama.cpp found the batch invalid")
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")
        return self._logits(len(batch.outputs))

    def _logits(self, outputs: int) -> Logits:
        if outputs == 0:
            return np.empty((0, self._size), np.float32)
        pointer = api.llama_get_logits(self._context)
        where = (ctypes.addressof(pointer.contents), outputs)
        if self._view_of != where:  # making the view costs ten times as much as looking it up
            self._view_of, self._view = where, np.ctypeslib.as_array(pointer, shape=(outputs, self._size))
        return self._view

    def clear(self, slot: int) -> None:
        """Free all cells of a slot."""
        assert 0 <= slot < self.limits.slots
        api.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def cells_of(self, slot: int) -> int:
        """Return how many positions llama.cpp itself holds for a slot. For tests."""
        return int(api.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def close(self) -> None:
        """Free context and model."""
        api.llama_free(self._context)
        api.llama_model_free(self._model)

    def _layers_on_gpu(self, options: LoadOptions, free: int | None) -> int:
        if free is None:
            return 0
        facts = self._peek()
        _, cells = _cache_size(options, facts, free)
        layers = placement.layers_on_gpu(
            options.gpu_layers,
            layers=facts.shape.layers,
            weights=facts.size,
            cache=cells * facts.shape.bytes_per_cell,
            free=free,
        )
        if options.require_gpu and layers == 0:
            raise LoadError("require_gpu is set, and not one layer of this model fits onto the GPU.")
        return layers

    def _peek(self) -> "_Facts":
        """Return the facts of the model without loading its weights."""
        model = self._open_model(vocab_only=True)
        facts = _Facts(model, self._path)
        api.llama_model_free(model)
        return facts

    def _kernels_fit(self) -> bool:
        """Whether the kernels for which weights would be laid out anew are right for this model.

        AMX kernels are not for recurrent layers: with several sequences in a batch these compute nonsense (seen with
        llama.cpp 0c1e570 on qwen35moe). And they are tried first, for compiled by GCC without `scripts/llama.cmake`
        they end the process at the first prompt (llama.cpp issue 20824).
        """
        if b"AMX_INT8 = 1" not in api.llama_print_system_info():
            return True
        return not self._peek().recurrent and amx_works()

    def _open_model(self, *, n_gpu_layers: int = 0, vocab_only: bool = False) -> Any:
        params = api.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.vocab_only = vocab_only
        params.use_extra_bufts = not vocab_only and self._extra_buffers
        model = api.llama_model_load_from_file(str(self._path).encode(), params)
        if not model:
            raise LoadError(f"llama.cpp could not load this file: {_native_log.reason(self._path)}")
        return model

    def _open_context(self) -> None:
        limits, params = self.limits, api.llama_context_default_params()
        params.n_ctx = limits.cells
        params.n_batch = limits.slots + limits.prefill_rows
        params.n_ubatch = min(params.n_batch, 512)
        params.n_seq_max = limits.slots
        # Rows with logits per ubatch; the default reserves a row of the vocabulary for every token of a batch.
        params.n_outputs_max = limits.slots
        params.kv_unified = True
        params.swa_full = True
        params.n_threads_batch = placement.physical_cores()
        params.no_perf = True
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            raise LoadError(
                f"llama.cpp could not allocate a context of {limits.cells} cells: {_native_log.reason(self._path)}"
            )
        self._memory = api.llama_get_memory(self._context)
        self._rows = _Rows(params.n_batch)

    def _open_vocabulary(self) -> None:
        self._vocabulary = api.llama_model_get_vocab(self._model)
        self._size = int(api.llama_vocab_n_tokens(self._vocabulary))
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}

    def _choose_threads(self, options: LoadOptions, facts: "_Facts", *, on_gpu: bool) -> int:
        cores = placement.physical_cores()
        if options.threads or on_gpu or facts.size > _TIMED_WEIGHTS:
            threads = options.threads or cores
        else:
            threads = placement.fewest_fast_threads(cores, self._seconds_per_token)
        api.llama_set_n_threads(self._context, threads, options.threads or cores)
        return threads

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

    def _describe(self, facts: "_Facts", context: int, device: Device, threads: int) -> ModelInfo:
        template = api.llama_model_chat_template(self._model, None)
        return ModelInfo(
            architecture=facts.architecture,
            context=context,
            cells=self.limits.cells,
            max_sequences=self.limits.slots,
            parameters=int(api.llama_model_n_params(self._model)),
            size=facts.size,
            vocabulary=self._size,
            device=device,
            threads=threads,
            chat_template=template.decode(errors="replace") if template else None,
            bos_token=self._text(api.llama_vocab_bos(self._vocabulary)),
            eos_token=self._text(api.llama_vocab_eos(self._vocabulary)),
            control_tokens=[
                self._text(token)
                for token in range(self._size)
                if api.llama_vocab_get_attr(self._vocabulary, token) & api.LLAMA_TOKEN_ATTR_CONTROL
            ],
        )

    def _text(self, token: int) -> str:
        return (api.llama_vocab_get_text(self._vocabulary, token) or b"").decode(errors="replace") if token >= 0 else ""


class _Rows:
    """A `llama_batch` whose fields lie in arrays, so that a step fills it by slices and not row by row."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._tokens, self._positions, self._slots = (np.zeros(capacity, np.int32) for _ in range(3))
        self._one_each = np.ones(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        addresses = self._slots.ctypes.data + self._slots.itemsize * np.arange(capacity, dtype=np.uintp)
        self._slot_pointers = addresses  # llama_batch wants a list of sequence ids for each row; each has one
        self._batch = api.llama_batch()
        for name, values in (
            ("token", self._tokens),
            ("pos", self._positions),
            ("n_seq_id", self._one_each),
            ("seq_id", self._slot_pointers),
            ("logits", self._wanted),
        ):
            kind = {field[0]: field[1] for field in api.llama_batch._fields_}[name]
            setattr(self._batch, name, ctypes.cast(values.ctypes.data, kind))

    def fill(self, batch: Batch) -> Any:
        """Return the struct, holding `batch`, until the next call."""
        rows = len(batch)
        self._tokens[:rows] = batch.tokens
        self._positions[:rows] = batch.positions
        self._slots[:rows] = batch.slots
        self._wanted[:rows] = 0
        self._wanted[batch.outputs] = 1
        self._batch.n_tokens = rows
        return self._batch


class _Facts:
    """What a GGUF says of itself, as far as memory depends on it."""

    def __init__(self, model: Any, path: Path) -> None:
        metadata = _metadata(model)
        self.architecture = metadata.get("general.architecture", "unknown")
        prefix = self.architecture + "."
        own = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
        self.shape = placement.shape_of(own)
        self.trained = int(own.get("context_length", "0")) or placement.POOL
        self.recurrent = bool(api.llama_model_is_recurrent(model) or api.llama_model_is_hybrid(model))
        self.size = int(api.llama_model_size(model)) or path.stat().st_size


class _Log:
    """Passes llama.cpp's log on to ours, and keeps its last words for the error message."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._callback = api.llama_log_callback(self._take)
        api.llama_log_set(self._callback, None)

    def forget(self) -> None:
        """Start anew: what comes now belongs to another model."""
        self._errors.clear()

    def reason(self, path: Path) -> str:
        """Return the first error since, without the path of the file."""
        text = self._errors[0] if self._errors else "it gave no reason."
        return text.replace(str(path), path.name).replace(str(path.parent), "…")

    def _take(self, level: int, text: bytes, _: object) -> None:
        line = text.decode(errors="replace").strip()
        if level == 4:  # GGML_LOG_LEVEL_ERROR
            self._errors.append(line)
        if line:
            log.log({4: logging.WARNING, 3: logging.INFO}.get(level, logging.DEBUG), "llama.cpp: %s", line)


_native_log = _Log()  # one for the process: llama.cpp calls it whatever becomes of a model


def _load_backends() -> None:
    """Load what a portable build keeps in libraries of their own: the CPU kernels that suit this machine best."""
    if _ggml.ggml_backend_reg_count() == 0:
        _ggml.ggml_backend_load_all_from_path(os.fsencode(libggml_base_path))


def _require_gpu(options: LoadOptions, devices: list[Gpu]) -> None:
    if options.require_gpu and not devices:
        built_for_it = api.llama_supports_gpu_offload()
        why = "none was found." if built_for_it else "llama.cpp was built for the CPU: reinstall with BACKEND=..."
        raise LoadError(f"require_gpu is set, and no GPU can be used: {why}")


def _cache_size(options: LoadOptions, facts: _Facts, free: int) -> tuple[int, int]:
    try:
        return placement.cache_size(
            options, trained=facts.trained, bytes_per_cell=facts.shape.bytes_per_cell, free=free - facts.size
        )
    except placement.DoesNotFit as error:
        raise LoadError(f"Not enough memory: {error}.") from error


def _device(devices: list[Gpu], offloaded: int, layers: int) -> Device:
    if not offloaded:
        return Device("CPU", 0, layers)
    return Device(", ".join(gpu.description or gpu.name for gpu in devices), offloaded, layers)


def _metadata(model: Any) -> dict[str, str]:
    """Return the scalar metadata of a model as llama.cpp prints it."""
    key, value = ctypes.create_string_buffer(256), ctypes.create_string_buffer(4096)
    found = {}
    for index in range(api.llama_model_meta_count(model)):
        api.llama_model_meta_key_by_index(model, index, key, len(key))
        api.llama_model_meta_val_str_by_index(model, index, value, len(value))
        found[key.value.decode(errors="replace")] = value.value.decode(errors="replace")
    return found
