"""The memory that a model takes in llama.cpp: weights, cache, recurrent states, compute buffers, logits.

Pure functions of a model's shape and of the parameters of its context. Each formula names the source of llama.cpp that
allocates the memory, and tests/memory/test_plan.py compares the sums with llama.cpp's own log. Sizes are in bytes.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from localrouter.gguf.tensors import TYPES
from localrouter.load_options import DEFAULTS, SEQUENCES_LIMITS, KvType, LoadOptions
from localrouter.memory.shape import FLOAT, Layer, Shape, Widths

KV_NUMBERS: dict[KvType, int] = {"f16": 1, "q8_0": 8, "q4_0": 2}
"""Number of each type in `enum ggml_type`."""
KV_TYPES = {name: TYPES[number] for name, number in KV_NUMBERS.items()}
FEW_SEQUENCES = 8
"""Most sequences that are computed at the same time where memory is allocated up front for each of them: a recurrent
state (60 to 80 MB in the large Qwen hybrids), or a window of sliding layers (200 to 340 MB in the large Gemmas)."""
IDLE_SLOTS = 32
"""Slots beside the running ones, in which ended sequences stay cached for requests with the same prefix."""
FEW_IDLE_SLOTS = 4
"""Most idle slots where memory is allocated up front for each sequence."""
SCORED_ROWS = 32
"""Rows of one step that may have logits beside one row of each sequence: for log probabilities of prompts."""
ROWS = 256
"""Prefill rows of one step on a CPU: more gain nothing, and a cancel waits for the end of a step."""
ROWS_ON_GPU = 512
"""Prefill rows of one step with layers on a GPU, which computes hundreds of rows in the time of one."""

_PAD = 256
_MASK = {True: 2, False: 4}
"""Bytes of an element of the mask: f16 with flash attention, f32 without (build_attn_inp_kv of llama-graph.cpp)."""


@dataclass(frozen=True)
class ContextParams:
    """Parameters of a llama.cpp context and of the layers on GPUs: the plan computes memory from them.

    `LoadOptions` are what an operator asks for; these are numbers with nothing left to decide.
    """

    cells: int
    """KV cells that all sequences share (`kv_unified`)."""
    sequences: int = DEFAULTS.max_sequences
    """Sequences computed at the same time; at most 8 with recurrent states, or with windows only."""
    idle: int = IDLE_SLOTS
    """Slots for ended sequences; at most 4 with recurrent states, or with windows only."""
    rows: int = ROWS
    """Prefill rows of one step, beside one row of each sequence."""
    kv_type: KvType = DEFAULTS.kv_type
    swa_full: bool = True
    """Sliding layers hold all cells, so that a prefix can be shared at any token. Otherwise they hold windows only."""
    flash_attention: bool = True
    ubatch: int = DEFAULTS.ubatch
    """Most rows that llama.cpp computes at once."""
    gpu_layers: int = 0
    """Layers on GPUs, from the last one down; one more than the model has: the output layer too."""
    shares: tuple[float, ...] = ()
    """Proportion in which GPUs share these layers, a number for each GPU, not all zero; empty: there is one GPU."""


def context_params(options: LoadOptions, cells: int) -> ContextParams:
    """Return the parameters of a context with `cells` KV cells, as the options say.

    The placement decides later on `gpu_layers` and `rows`, and where `options.swa_full` is "auto" on `swa_full`, which
    is False here.
    """
    return ContextParams(
        cells=cells,
        sequences=options.max_sequences,
        kv_type=options.kv_type,
        swa_full=options.swa_full == "on",
        flash_attention=options.flash_attention != "off",
        ubatch=options.ubatch,
        shares=options.tensor_split or (),
    )


@dataclass(frozen=True)
class Memory:
    """Bytes in one place, RAM or GPUs, by purpose."""

    weights: int = 0
    cache: int = 0
    """Keys and values of layers with attention."""
    states: int = 0
    """Recurrent states, of all sequences."""
    compute: int = 0
    """Compute buffers: activations between the layers."""
    logits: int = 0

    @property
    def total(self) -> int:
        """Bytes for all purposes."""
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
    """Memory that a model of this shape takes with these parameters."""

    shape: Shape
    params: ContextParams
    ram: Memory
    gpus: tuple[Memory, ...]
    """Memory of each GPU, in the order of `params.shares`."""

    @property
    def gpu(self) -> Memory:
        """Memory of all GPUs together."""
        return sum(self.gpus, Memory())

    @property
    def both(self) -> Memory:
        """Memory of RAM and GPUs together."""
        return self.ram + self.gpu


def plan(shape: Shape, params: ContextParams) -> Plan:
    """Return the memory that a model takes; for an incomplete shape only the weights are right."""
    count = len(shape.layers)
    on_gpu = min(params.gpu_layers, count + 1)
    first = max(0, count + 1 - on_gpu)  # i_gpu_start of llama-model.cpp; the output layer counts as the last one
    ram = _layers(shape, params, shape.layers[:first])
    gpus = _on_gpus(shape, params, first, on_gpu)
    ram += Memory(weights=shape.embedding, logits=_logits(shape, params))
    if on_gpu:
        # The CPU computes the embedding's rows and the layers that are not offloaded.
        rows = 2 * ubatch(shape, params) * _row(shape.widths.width)
        ram += Memory(compute=compute(shape, params) if first else rows)
    else:
        ram += Memory(weights=shape.output, compute=compute(shape, params))
    return Plan(shape, params, ram, gpus)


def sequences(shape: Shape, params: ContextParams) -> int:
    """Return how many sequences are computed at the same time."""
    return min(params.sequences, FEW_SEQUENCES) if _allocates_per_sequence(shape, params) else params.sequences


def slots(shape: Shape, params: ContextParams) -> int:
    """Return how many sequences the context has, `n_seq_max`: running ones and idle ones."""
    idle = min(params.idle, FEW_IDLE_SLOTS) if _allocates_per_sequence(shape, params) else params.idle
    return min(sequences(shape, params) + idle, SEQUENCES_LIMITS.most)


def outputs(shape: Shape, params: ContextParams) -> int:
    """Return the most rows of one step that have logits, `n_outputs_max`."""
    return max(slots(shape, params), sequences(shape, params) + SCORED_ROWS)


def largest_batch(shape: Shape, params: ContextParams) -> int:
    """Return the rows of the largest step, `n_batch`: one of each sequence and all prefill rows."""
    return sequences(shape, params) + params.rows


def ubatch(shape: Shape, params: ContextParams) -> int:
    """Return how many rows llama.cpp computes at once, `n_ubatch`; never more than the context has cells."""
    return min(largest_batch(shape, params), params.ubatch, full_cells(params))


def full_cells(params: ContextParams) -> int:
    """Return the cells of layers with full attention: padded to 256 (llama_context of llama-context.cpp)."""
    return _padded(params.cells)


def sliding_cells(shape: Shape, params: ContextParams) -> int:
    """Return the cells of sliding layers: `size_swa` of llama-kv-cache-iswa.cpp."""
    cells = full_cells(params)
    if params.swa_full:
        return cells
    return _padded(min(cells, shape.window * slots(shape, params) + ubatch(shape, params)))


def cache_bytes(shape: Shape, params: ContextParams, layer: Layer) -> int:
    """Return the bytes of one layer's keys and values in all cells: `llama_kv_cache` of llama-kv-cache.cpp.

    Without flash attention values lie transposed, and all layers get the width of the widest ([TAG_V_CACHE_VARIABLE]).
    """
    if not layer.keys:
        return 0
    cells = sliding_cells(shape, params) if layer.sliding else full_cells(params)
    values = layer.values if params.flash_attention else max(each.values for each in shape.layers)
    kind = KV_TYPES[params.kv_type]
    return kind.bytes(layer.keys * cells) + kind.bytes(values * cells)


def compute(shape: Shape, params: ContextParams) -> int:
    """Return the bytes of a compute buffer: `sched_reserve` of llama-context.cpp reserves it for the largest batch.

    ggml reuses the memory of tensors that are no longer needed, so this is a peak: inside a layer while the masks are
    alive, or at the end, where the logits are computed and a part of the last layer is still alive.
    """
    rows = ubatch(shape, params)
    attended = [full_cells(params)]
    if shape.sliding:
        attended.append(sliding_cells(shape, params))
    masks = rows * sum(attended) * _MASK[params.flash_attention]
    inside = max(_phases(shape, params, rows))
    logits = min(rows, outputs(shape, params)) * shape.vocabulary * FLOAT
    return max(masks + inside, logits + inside // 2)


def _on_gpus(shape: Shape, params: ContextParams, first: int, count: int) -> tuple[Memory, ...]:
    """Return the memory of each GPU with `count` layers from `first` on. Each has a compute buffer of full size."""
    shares = params.shares or (1.0,)
    gpus = [Memory() for _ in shares]
    for offset, gpu in enumerate(_gpu_of_each(shares, count)):
        layer = shape.layers[first + offset : first + offset + 1]
        output = shape.output + shape.tied if offset == count - 1 else 0
        gpus[gpu] += _layers(shape, params, layer) + Memory(weights=output)
    buffers = Memory(compute=compute(shape, params))
    return tuple(gpu + buffers if gpu.weights else gpu for gpu in gpus)


def _gpu_of_each(shares: tuple[float, ...], count: int) -> list[int]:
    """Return the GPU of each of `count` layers, an index of `shares`: `get_layer_buft_list` of llama-model.cpp."""
    ends = [end / sum(shares) for end in accumulate(shares)]
    return [min(bisect_right(ends, layer / count), len(shares) - 1) for layer in range(count)]


def _allocates_per_sequence(shape: Shape, params: ContextParams) -> bool:
    """Whether llama.cpp allocates memory up front for each sequence."""
    return shape.recurrent or (shape.sliding and not params.swa_full)


def _phases(shape: Shape, params: ContextParams, rows: int) -> tuple[int, ...]:
    """Return the bytes alive inside each part of a layer: attention, recurrence, experts, feed-forward.

    The formulas are fitted to what llama.cpp 0c1e570 reports for shapes that differ in one width: within 8 %, and above
    llama.cpp's number where they are not exact.
    """
    each: Widths = shape.widths
    attention = 3 * each.width + 2 * each.queries + each.keys
    if shape.recurrent:  # the queries of these models have a gate beside them
        attention += each.queries + 2 * each.keys
    if not params.flash_attention:
        attention += each.keys + shape.heads * full_cells(params)
    state = max((layer.state for layer in shape.layers), default=0)
    return (
        rows * _row(attention),
        rows * _row(3 * each.width + 3 * each.mixed) + 2 * slots(shape, params) * state,
        rows * _row((1 + each.experts_used) * each.width + 3 * each.experts),
        rows * _row(3 * each.width + max(each.width, each.queries) + 3 * each.feed_forward),
    )


def _layers(shape: Shape, params: ContextParams, layers: tuple[Layer, ...]) -> Memory:
    """Return weights, cache and states of some layers. `llama_memory_recurrent` has a row for each sequence."""
    return Memory(
        weights=sum(layer.weights for layer in layers),
        cache=sum(cache_bytes(shape, params, layer) for layer in layers),
        states=sum(layer.state for layer in layers) * slots(shape, params),
    )


def _logits(shape: Shape, params: ContextParams) -> int:
    """Return the bytes of the logits: a row for each sequence (`output_reserve` of llama-context.cpp).

    With log probabilities of prompts they grow to `outputs` rows, where there are fewer slots.
    """
    return slots(shape, params) * shape.vocabulary * FLOAT


def _row(elements: int) -> int:
    return elements * FLOAT


def _padded(cells: int) -> int:
    return -(-cells // _PAD) * _PAD
