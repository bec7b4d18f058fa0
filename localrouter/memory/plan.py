"""The memory that a model takes in llama.cpp: weights, cache, recurrent states, compute buffers, logits.

Pure functions of a shape and of the options of a context. What llama.cpp allocates is its own choice, so each formula
names its source, and tests/memory/test_plan.py holds the sums against llama.cpp's own log. Sizes are in bytes.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from localrouter.gguf.tensors import TYPES
from localrouter.memory.shape import FLOAT, Layer, Shape, Widths

KvType = Literal["f16", "q8_0", "q4_0"]
"""How keys and values are stored; both alike."""
Switch = Literal["auto", "on", "off"]
"""Something that is on, off, or decided by a rule."""

KV_NUMBERS: dict[KvType, int] = {"f16": 1, "q8_0": 8, "q4_0": 2}
"""As ggml numbers them."""
KV_TYPES = {name: TYPES[number] for name, number in KV_NUMBERS.items()}
SEQUENCES = 64
"""Conversations that are computed at the same time, unless the operator wants another number."""
FEW_SEQUENCES = 8
"""The same at most, where each takes memory of its own that is allocated up front: a recurrent state (60 to 80 MB in
the large Qwen hybrids), or a window in sliding layers that hold nothing else (200 to 340 MB in the large Gemmas)."""
IDLE_SLOTS, FEW_IDLE_SLOTS = 32, 4
"""Conversations that stay in the cache after their end, beside those that are computed, for what begins alike."""
MAX_SLOTS = 256
"""As many as llama.cpp can tell apart (LLAMA_MAX_SEQ)."""
ROWS = 256
"""Rows of prompts in one step on a CPU: more gain nothing, and a cancel waits for a step."""
ROWS_ON_GPU = 512
"""The same where layers are on a GPU, which reads hundreds of tokens in the time of one step."""
UBATCH = 512
"""Rows that llama.cpp computes at once, unless the operator wants another number."""

_PAD = 256
_MASK = {True: 2, False: 4}
"""Bytes of an element of the mask: f16 with flash attention, f32 without (build_attn_inp_kv of llama-graph.cpp)."""


@dataclass(frozen=True)
class Options:
    """A context of llama.cpp: the engine opens it with these, and the plan reckons with them."""

    cells: int
    """Positions of the cache that all sequences share (`kv_unified`)."""
    sequences: int = SEQUENCES
    """Conversations that are computed at the same time; 8 at most with recurrent states, or with windows only."""
    idle: int = IDLE_SLOTS
    """Conversations that are kept after their end; 4 at most with recurrent states, or with windows only."""
    rows: int = ROWS
    """Rows of prompts in one step, beside one row of each sequence."""
    kv: KvType = "f16"
    swa_full: bool = True
    """Sliding layers hold all cells, so that a prefix can be shared anywhere. Otherwise they hold windows only."""
    flash_attention: bool = True
    ubatch: int = UBATCH
    """Rows that llama.cpp computes at once at most."""
    gpu_layers: int = 0
    """Layers on GPUs, from the last one down; one more than there are: the output layer too."""
    shares: tuple[float, ...] = ()
    """In which proportion GPUs share these layers, a number for each GPU, not all zero; empty: there is one GPU."""


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
    gpus: tuple[Memory, ...]
    """Each GPU, in the order of `options.shares`."""

    @property
    def gpu(self) -> Memory:
        """All GPUs together."""
        return sum(self.gpus, Memory())

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
    gpus = _on_gpus(shape, options, first, on_gpu)
    ram += Memory(weights=shape.embedding, logits=_logits(shape, options))
    if on_gpu:
        # What is left for the CPU: the embedding's rows, and the layers that stayed.
        rows = 2 * ubatch(shape, options) * _row(shape.widths.width)
        ram += Memory(compute=compute(shape, options) if first else rows)
    else:
        ram += Memory(weights=shape.output, compute=compute(shape, options))
    return Plan(shape, options, ram, gpus)


def sequences(shape: Shape, options: Options) -> int:
    """Sequences that are computed at the same time."""
    return min(options.sequences, FEW_SEQUENCES) if _is_dear(shape, options) else options.sequences


def slots(shape: Shape, options: Options) -> int:
    """Sequences that the context gets, `n_seq_max`: those that are computed, and those that are kept."""
    idle = min(options.idle, FEW_IDLE_SLOTS) if _is_dear(shape, options) else options.idle
    return min(sequences(shape, options) + idle, MAX_SLOTS)


def largest_batch(shape: Shape, options: Options) -> int:
    """Rows of the largest step, `n_batch`: one of each sequence and the most of prompts."""
    return sequences(shape, options) + options.rows


def ubatch(shape: Shape, options: Options) -> int:
    """Rows that llama.cpp computes at once, `n_ubatch`; never over the context."""
    return min(largest_batch(shape, options), options.ubatch, full_cells(options))


def full_cells(options: Options) -> int:
    """Cells of layers that see the whole context: padded to 256 (llama_context of llama-context.cpp)."""
    return _padded(options.cells)


def sliding_cells(shape: Shape, options: Options) -> int:
    """Cells of layers that see a window: `size_swa` of llama-kv-cache-iswa.cpp."""
    cells = full_cells(options)
    if options.swa_full:
        return cells
    return _padded(min(cells, shape.window * slots(shape, options) + ubatch(shape, options)))


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
    if shape.sliding:
        attended.append(sliding_cells(shape, options))
    masks = rows * sum(attended) * _MASK[options.flash_attention]
    inside = max(_phases(shape, options, rows))
    return max(masks + inside, _logits(shape, options) + inside // 2)


def _on_gpus(shape: Shape, options: Options, first: int, count: int) -> tuple[Memory, ...]:
    """What each GPU holds of `count` layers from the first one. The compute buffer of each is as for all."""
    shares = options.shares or (1.0,)
    gpus = [Memory() for _ in shares]
    for offset, gpu in enumerate(_gpu_of_each(shares, count)):
        layer = shape.layers[first + offset : first + offset + 1]
        output = shape.output + shape.tied if offset == count - 1 else 0
        gpus[gpu] += _layers(shape, options, layer) + Memory(weights=output)
    buffers = Memory(compute=compute(shape, options))
    return tuple(gpu + buffers if gpu.weights else gpu for gpu in gpus)


def _gpu_of_each(shares: tuple[float, ...], count: int) -> list[int]:
    """The GPU of each of `count` layers, an index of `shares`: `get_layer_buft_list` of llama-model.cpp."""
    ends = [end / sum(shares) for end in accumulate(shares)]
    return [min(bisect_right(ends, layer / count), len(shares) - 1) for layer in range(count)]


def _is_dear(shape: Shape, options: Options) -> bool:
    """Whether each sequence takes memory of its own that is allocated up front."""
    return shape.recurrent or (shape.sliding and not options.swa_full)


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
        rows * _row(3 * each.width + 3 * each.mixed) + 2 * slots(shape, options) * state,
        rows * _row((1 + each.experts_used) * each.width + 3 * each.experts),
        rows * _row(3 * each.width + max(each.width, each.queries) + 3 * each.feed_forward),
    )


def _layers(shape: Shape, options: Options, layers: tuple[Layer, ...]) -> Memory:
    """Weights, cache and states of some layers. A state is a row of `llama_memory_recurrent` for each sequence."""
    return Memory(
        weights=sum(layer.weights for layer in layers),
        cache=sum(cache_bytes(shape, options, layer) for layer in layers),
        states=sum(layer.state for layer in layers) * slots(shape, options),
    )


def _logits(shape: Shape, options: Options) -> int:
    """The output buffer: a row of the vocabulary for each sequence (`output_reserve` of llama-context.cpp)."""
    return slots(shape, options) * shape.vocabulary * FLOAT


def _row(elements: int) -> int:
    return elements * FLOAT


def _padded(cells: int) -> int:
    return -(-cells // _PAD) * _PAD
