"""The memory that a model takes in llama.cpp: weights, cache, recurrent states, compute buffers, logits.

Pure functions of a shape and of the options of a context. What llama.cpp allocates is its own choice, so each formula
names its source, and tests/memory/test_plan.py holds the sums against llama.cpp's own log. Sizes are in bytes.
"""

from dataclasses import dataclass
from typing import Literal

from localrouter.gguf.tensors import TYPES
from localrouter.memory.shape import FLOAT, Layer, Shape, Widths

KvType = Literal["f16", "q8_0", "q4_0"]
"""How keys and values are stored; both alike."""

KV_TYPES = {"f16": TYPES[1], "q8_0": TYPES[8], "q4_0": TYPES[2]}
SEQUENCES = 64
"""Conversations that are computed at the same time, unless the operator wants another number."""
RECURRENT_SEQUENCES = 8
"""The same at most, for a model with recurrent states: they are allocated up front, 60 to 80 MB each in the large Qwen
hybrids."""
ROWS = 128
"""Rows of prompts in one step on a CPU: more gain nothing, and a cancel waits for a step."""
ROWS_ON_GPU = 512
"""The same where layers are on a GPU, which reads hundreds of tokens in the time of one step."""
MAX_UBATCH = 512
"""Rows that llama.cpp computes at once at most."""

_PAD = 256
_MASK = {True: 2, False: 4}
"""Bytes of an element of the mask: f16 with flash attention, f32 without (build_attn_inp_kv of llama-graph.cpp)."""


@dataclass(frozen=True)
class Options:
    """A context of llama.cpp: the engine opens it with these, and the plan reckons with them."""

    cells: int
    """Positions of the cache that all sequences share (`kv_unified`)."""
    sequences: int = SEQUENCES
    """Conversations that are computed at the same time; models with recurrent states get 8 at most."""
    rows: int = ROWS
    """Rows of prompts in one step, beside one row of each sequence."""
    kv: KvType = "f16"
    swa_full: bool = True
    """Sliding layers hold all cells, so that a prefix can be shared anywhere."""
    flash_attention: bool = True
    gpu_layers: int = 0
    """Layers on GPUs, from the last one down; one more than there are: the output layer too."""


@dataclass(frozen=True)
class Memory:
    """Bytes in one place, RAM or GPUs."""

    weights: int = 0
    cache: int = 0
    """Keys and values of layers with attention."""
    states: int = 0
    """Recurrent states, of all sequences."""
    compute: int = 0
    """Between the layers."""
    logits: int = 0

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.weights + self.cache + self.states + self.compute + self.logits

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(
            self.weights + other.weights,
            self.cache + other.cache,
            self.states + other.states,
            self.compute + other.compute,
            self.logits + other.logits,
        )


@dataclass(frozen=True)
class Plan:
    """The memory that a shape takes with these options."""

    shape: Shape
    options: Options
    ram: Memory
    gpu: Memory
    """All GPUs together."""

    @property
    def both(self) -> Memory:
        """Memory wherever it is."""
        return self.ram + self.gpu


def plan(shape: Shape, options: Options) -> Plan:
    """Return the memory that a model takes. Of an incomplete shape only the weights are known."""
    count = len(shape.layers)
    on_gpu = min(options.gpu_layers, count + 1)
    first = max(0, count + 1 - on_gpu)  # i_gpu_start of llama-model.cpp; the output layer counts as the last one
    ram = _layers(shape, options, shape.layers[:first])
    gpu = _layers(shape, options, shape.layers[first:]) if on_gpu else Memory()
    ram += Memory(weights=shape.embedding, logits=_logits(shape, options))
    if on_gpu:
        gpu += Memory(weights=shape.output + shape.tied, compute=compute(shape, options))
        # What is left for the CPU: the embedding's rows, and the layers that stayed.
        rows = 2 * ubatch(shape, options) * _row(shape.widths.width)
        ram += Memory(compute=compute(shape, options) if first else rows)
    else:
        ram += Memory(weights=shape.output, compute=compute(shape, options))
    return Plan(shape, options, ram, gpu)


def sequences(shape: Shape, options: Options) -> int:
    """Sequences that the context really gets."""
    return min(options.sequences, RECURRENT_SEQUENCES) if shape.recurrent else options.sequences


def largest_batch(shape: Shape, options: Options) -> int:
    """Rows of the largest step, `n_batch`: one of each sequence and the most of prompts."""
    return sequences(shape, options) + options.rows


def ubatch(shape: Shape, options: Options) -> int:
    """Rows that llama.cpp computes at once, `n_ubatch`; never over the context."""
    return min(largest_batch(shape, options), MAX_UBATCH, full_cells(options))


def full_cells(options: Options) -> int:
    """Cells of layers that see the whole context: padded to 256 (llama_context of llama-context.cpp)."""
    return _padded(options.cells)


def sliding_cells(shape: Shape, options: Options) -> int:
    """Cells of layers that see a window: `size_swa` of llama-kv-cache-iswa.cpp."""
    cells = full_cells(options)
    if options.swa_full:
        return cells
    window = shape.window * sequences(shape, options) + min(largest_batch(shape, options), MAX_UBATCH)
    return _padded(min(cells, window))


def cache_bytes(shape: Shape, options: Options, layer: Layer) -> int:
    """Keys and values of one layer, in all cells: `llama_kv_cache` of llama-kv-cache.cpp.

    Without flash attention values lie transposed, and all layers get the width of the widest ([TAG_V_CACHE_VARIABLE]).
    """
    if not layer.keys:
        return 0
    cells = sliding_cells(shape, options) if layer.sliding else full_cells(options)
    values = layer.values if options.flash_attention else max(each.values for each in shape.layers)
    kind = KV_TYPES[options.kv]
    return kind.bytes(layer.keys * cells) + kind.bytes(values * cells)


def compute(shape: Shape, options: Options) -> int:
    """Bytes between the layers: what `sched_reserve` of llama-context.cpp reserves for the largest batch.

    ggml gives memory that is no longer needed to the next tensor, so this is a peak: inside a layer, while the masks
    are alive, or at the end, where the logits are and what is left of the layers lies in their way.
    """
    rows = ubatch(shape, options)
    attended = [full_cells(options)]
    if any(layer.sliding for layer in shape.layers):
        attended.append(sliding_cells(shape, options))
    masks = rows * sum(attended) * _MASK[options.flash_attention]
    inside = max(_phases(shape, options, rows))
    return max(masks + inside, _logits(shape, options) + inside // 2)


def _phases(shape: Shape, options: Options, rows: int) -> tuple[int, ...]:
    """Bytes alive inside the parts of a layer: attention, recurrence, experts, feed-forward.

    Which tensors are alive together was read from what llama.cpp 0c1e570 reports for shapes that differ in one width:
    within 8 % of it, and above it where it is not exact.
    """
    each: Widths = shape.widths
    attention = 3 * each.width + 2 * each.queries + each.keys
    if shape.recurrent:  # the queries of these models have a gate beside them
        attention += each.queries + 2 * each.keys
    if not options.flash_attention:
        attention += each.keys + shape.heads * full_cells(options)
    state = max((layer.state for layer in shape.layers), default=0)
    return (
        rows * _row(attention),
        rows * _row(3 * each.width + 3 * each.mixed) + 2 * sequences(shape, options) * state,
        rows * _row((1 + each.experts_used) * each.width + 3 * each.experts),
        rows * _row(3 * each.width + max(each.width, each.queries) + 3 * each.feed_forward),
    )


def _layers(shape: Shape, options: Options, layers: tuple[Layer, ...]) -> Memory:
    """Weights, cache and states of some layers. A state is a row of `llama_memory_recurrent` for each sequence."""
    return Memory(
        weights=sum(layer.weights for layer in layers),
        cache=sum(cache_bytes(shape, options, layer) for layer in layers),
        states=sum(layer.state for layer in layers) * sequences(shape, options),
    )


def _logits(shape: Shape, options: Options) -> int:
    """The output buffer: a row of the vocabulary for each sequence (`output_reserve` of llama-context.cpp)."""
    return sequences(shape, options) * shape.vocabulary * FLOAT


def _row(elements: int) -> int:
    return elements * FLOAT


def _padded(cells: int) -> int:
    return -(-cells // _PAD) * _PAD
