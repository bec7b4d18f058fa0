"""Options that a model is loaded with: one definition of their types, defaults and limits.

The settings of `localrouter serve` and the manifest's aliases choose them, memory planning reads them, and the worker
receives them.
"""

from typing import Literal, NamedTuple, TypeAlias

import msgspec

KvType: TypeAlias = Literal["f16", "q8_0", "q4_0"]
"""Data type of the keys and values in the KV cache."""
Switch: TypeAlias = Literal["auto", "on", "off"]
"""An option that is on, off, or decided by a rule."""


class Limits(NamedTuple):
    """Smallest and largest value of a number, both allowed."""

    least: int
    most: int


CONTEXT_LIMITS = Limits(16, 4_194_304)
CELLS_LIMITS = Limits(16, 16_777_216)
SEQUENCES_LIMITS = Limits(1, 256)
"""llama.cpp distinguishes at most 256 sequences (LLAMA_MAX_SEQ)."""
THREADS_LIMITS = Limits(1, 1024)
UBATCH_LIMITS = Limits(32, 4096)
CACHE_RAM_LIMITS = Limits(0, 16_777_216)
STEP_MS_LIMITS = Limits(1, 60_000)


class LoadOptions(msgspec.Struct, frozen=True):
    """Options that a model is loaded with. The defaults leave a choice to the machine's memory and devices."""

    context: int | None = None
    """Longest prompt plus output of one request, in tokens; None: what the model was trained for, if it fits."""
    cells: int | None = None
    """Positions of the KV cache, shared by all sequences; None: chosen from the free memory."""
    max_sequences: int = 64
    """Sequences that are computed at the same time."""
    gpu_layers: int | Literal["auto", "all"] = "auto"
    """Layers to offload to GPUs: as many as fit, all of them, or a number."""
    device: str | None = None
    """GPUs to offload to, as `localrouter devices` names them, separated by commas; None: llama.cpp's own choice."""
    tensor_split: tuple[float, ...] | None = None
    """Proportion in which GPUs share the layers, a number for each GPU; None: that of their free memory."""
    require_gpu: bool = False
    """Refuse to load a model of which no layer is offloaded."""
    threads: int | None = None
    """CPU threads for prefill and decoding; None: all cores for prefill, the fastest number at load for decoding."""
    extra_buffers: Switch = "auto"
    """Repack weights for kernels of this CPU; auto: unless these are AMX kernels that fail their probe.

    Off: weights in RAM stay memory-mapped in their file, are read as they are needed, and need not fit.
    """
    kv_type: KvType = "f16"
    """Data type of the KV cache; q8_0 takes half the memory of f16 and q4_0 a quarter."""
    flash_attention: Switch = "auto"
    """Compute attention without a table of all scores; auto: where llama.cpp can."""
    swa_full: Switch = "auto"
    """Sliding layers hold the whole context, so a prefix can be shared at any token; auto: unless memory forbids it."""
    ubatch: int = 512
    """Most rows that llama.cpp computes at once (`n_ubatch`); fewer take less memory for compute buffers."""
    cache_ram: int | None = None
    """Megabytes of RAM for copies of ended conversations and of states; None: a tenth of the free memory."""
    gpu_sampling: Switch = "auto"
    """Sample on the GPU what llama.cpp samples exactly; auto: where a probe at load shows that it is faster."""
    step_ms: int = 300
    """Milliseconds that running outputs may pause for prefill; shorter pauses make prompts wait longer."""

    @property
    def needs_flash_attention(self) -> bool:
        """Whether the KV cache is quantized, which llama.cpp supports with flash attention only."""
        return self.kv_type != "f16"


DEFAULTS = LoadOptions()
