"""Settings: what an operator may choose, each with its default, its unit and its environment variable.

A setting is read from `LOCALROUTER_<NAME>` and can be overridden by the option of the same name of `localrouter serve`.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from localrouter.errors import ConfigError

GpuLayers = Literal["auto", "all"] | Annotated[int, Field(ge=0)]
KvType = Literal["f16", "q8_0", "q4_0"]
Switch = Literal["auto", "on", "off"]


def _numbers(value: object) -> object:
    """A list of numbers that is written with commas, as on a command line."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _check_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not any(shares):
        raise ValueError("at least one share must be above 0")
    return shares


TensorSplit = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...],
    BeforeValidator(_numbers),
    AfterValidator(_check_shares),
]
"""In which proportion GPUs share the layers of a model."""


class EngineSettings(BaseSettings):
    """How a model is loaded and run. The worker process receives exactly this."""

    model_config = SettingsConfigDict(env_prefix="LOCALROUTER_", extra="ignore", frozen=True)

    context: int | None = Field(None, ge=16, le=4_194_304)
    """Longest prompt plus answer of one request, in tokens; default: what the model was trained for, if it fits."""
    cells: int | None = Field(None, ge=16, le=16_777_216)
    """Positions of KV cache shared by all conversations; default: chosen from the free memory."""
    max_sequences: int = Field(64, ge=1, le=256)
    """Conversations that are computed at the same time; llama.cpp allows at most 256."""
    gpu_layers: GpuLayers = "auto"
    """Layers to offload: as many as fit, all of them, or a number."""
    device: str | None = Field(None, min_length=1)
    """GPUs to offload to, as `localrouter devices` names them, separated by commas; default: those llama.cpp takes."""
    tensor_split: Annotated[TensorSplit | None, NoDecode] = None
    """In which proportion several GPUs share the layers, as 3,1; default: in that of their free memory."""
    require_gpu: bool = False
    """Refuse to load on the CPU what should run on a GPU."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads for prompts and for generation; default: all cores, and what is fastest at load for generation."""
    extra_buffers: Switch = "auto"
    """Lay weights out anew for kernels of this CPU; auto: unless these are AMX kernels that fail when tried."""
    kv_type: KvType = "f16"
    """How keys and values are stored; q8_0 takes half the memory of f16 and q4_0 a quarter."""
    flash_attention: Switch = "auto"
    """Attend without a table of all scores; auto: where llama.cpp can. A quantized cache needs it."""
    swa_full: Switch = "auto"
    """Sliding layers hold the whole context, and a prefix is shared anywhere; auto: unless memory forbids it."""
    ubatch: int = Field(512, ge=32, le=4096)
    """Rows that llama.cpp computes at once at most; fewer take less memory between the layers."""
    cache_ram: int | None = Field(None, ge=0, le=16_777_216)
    """Megabytes for copies of conversations that have ended, outside the cache; default: a tenth of the free memory."""
    gpu_sampling: Switch = "auto"
    """Draw where the logits are what llama.cpp can draw exactly; auto: on a GPU where a trial shows that it helps."""
    step_ms: int = Field(300, ge=1, le=60_000)
    """Milliseconds that running answers may pause while a prompt is read; shorter pauses make prompts wait longer."""


class Settings(EngineSettings):
    """Everything `localrouter serve` can be told."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    api_key: SecretStr | None = None
    manifest: Path | None = None
    offline: bool = False
    max_queue: int = Field(256, ge=0, le=100_000)
    """Requests that may wait per model beside those being computed; past it: 429."""
    max_body: int = Field(8 * 1024 * 1024, ge=1024)
    """Largest request body, in bytes; past it: 413."""
    max_loaded: int = Field(2, ge=1, le=64)
    """Models that may be in memory at the same time; the one idle for longest makes room."""
    load_timeout: float = Field(600.0, gt=0, allow_inf_nan=False)
    """Seconds a model may take to load."""
    grace: float = Field(10.0, ge=0, allow_inf_nan=False)
    """Seconds that running answers are given to finish after SIGTERM."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def require_flash_attention_for_quantized_cache(self) -> None:
        """Raise ConfigError when llama.cpp could not open a cache of this type."""
        if self.kv_type != "f16" and self.flash_attention == "off":
            raise ConfigError(
                f"--kv-type {self.kv_type} needs flash attention, and --flash-attention is off",
                hint="leave --flash-attention at auto, or take --kv-type f16",
            )

    def require_key_off_loopback(self) -> None:
        """Raise ConfigError when the server would be reachable from elsewhere without a key."""
        if self.api_key is None and not is_loopback(self.host):
            raise ConfigError(
                f"binding {self.host} makes the server reachable from other machines, and no API key is set",
                hint="set LOCALROUTER_API_KEY or pass --api-key, or bind 127.0.0.1",
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
