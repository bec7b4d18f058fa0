"""Settings of the server, each with its default, its unit and its environment variable.

A setting is read from `LOCALROUTER_<NAME>` and can be overridden by the option of the same name of `localrouter serve`.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from localrouter.errors import ConfigError
from localrouter.load_options import (
    CACHE_RAM_LIMITS,
    CELLS_LIMITS,
    CONTEXT_LIMITS,
    DEFAULTS,
    SEQUENCES_LIMITS,
    STEP_MS_LIMITS,
    THREADS_LIMITS,
    UBATCH_LIMITS,
    KvType,
    Limits,
    LoadOptions,
    Switch,
)

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _limited(limits: Limits) -> Any:
    """Return the pydantic field metadata for a number with these limits."""
    return Field(ge=limits.least, le=limits.most)


def _split_commas(value: object) -> object:
    """Return a list of the parts of a text with commas, as on a command line; any other value unchanged."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _split_each(value: object) -> object:
    """Return the parts of a text with commas, or of several: a repeated option, or one environment variable."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    return [part.strip() for text in texts if text for part in str(text).split(",")]


def _check_host_name(name: str) -> str:
    """Return a host name in lower case. Raises ValueError unless it can be in a Host header, without a port."""
    name = name.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("must be a host name without scheme and port, with punycode for other letters than ASCII")
    return name


def _check_origin(origin: str) -> str:
    """Return an origin as browsers send it: in lower case and without the default port. `*` stands for every origin.

    Raises ValueError for `null`, which every sandboxed page has, and for what is no origin.
    """
    if origin == "*":
        return origin
    found = _ORIGIN.fullmatch(origin.lower())
    if not found:
        raise ValueError("must be * or an origin such as http://localhost:3000: scheme, host and port, without a path")
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{int(port)}" if port and int(port) != _DEFAULT_PORTS.get(scheme) else "")


def _check_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not any(shares):
        raise ValueError("at least one share must be above 0")
    return shares


SHORTEST_PING = 0.01
"""Least number of seconds between two comments of a stream; a shorter time would keep the server busy."""


def _check_ping(seconds: float) -> float:
    if 0 < seconds < SHORTEST_PING:
        raise ValueError(f"must be 0, or at least {SHORTEST_PING}")
    return seconds


Context = Annotated[int, _limited(CONTEXT_LIMITS)]
"""Longest prompt plus output of one request, in tokens."""
GpuLayers = Literal["auto", "all"] | Annotated[int, Field(ge=0)]
"""Layers to offload to GPUs: as many as fit, all of them, or a number."""
TensorSplit = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...],
    BeforeValidator(_split_commas),
    AfterValidator(_check_shares),
]
"""Proportion in which GPUs share the layers of a model."""


HostNames = Annotated[tuple[Annotated[str, AfterValidator(_check_host_name)], ...], BeforeValidator(_split_each)]
"""Names of hosts, in lower case."""
WebOrigins = Annotated[tuple[Annotated[str, AfterValidator(_check_origin)], ...], BeforeValidator(_split_each)]
"""Origins of web pages, or `*` for every origin."""


class EngineSettings(BaseSettings):
    """Options of every model that is loaded, from the command line and the environment.

    `LoadOptions` defines and describes each of them; here their values are checked.
    """

    model_config = SettingsConfigDict(env_prefix="LOCALROUTER_", extra="ignore", frozen=True)

    context: Context | None = DEFAULTS.context
    cells: Annotated[int, _limited(CELLS_LIMITS)] | None = DEFAULTS.cells
    max_sequences: Annotated[int, _limited(SEQUENCES_LIMITS)] = DEFAULTS.max_sequences
    gpu_layers: GpuLayers = DEFAULTS.gpu_layers
    device: Annotated[str, Field(min_length=1)] | None = DEFAULTS.device
    tensor_split: Annotated[TensorSplit | None, NoDecode] = DEFAULTS.tensor_split
    require_gpu: bool = DEFAULTS.require_gpu
    threads: Annotated[int, _limited(THREADS_LIMITS)] | None = DEFAULTS.threads
    extra_buffers: Switch = DEFAULTS.extra_buffers
    kv_type: KvType = DEFAULTS.kv_type
    flash_attention: Switch = DEFAULTS.flash_attention
    swa_full: Switch = DEFAULTS.swa_full
    ubatch: Annotated[int, _limited(UBATCH_LIMITS)] = DEFAULTS.ubatch
    cache_ram: Annotated[int, _limited(CACHE_RAM_LIMITS)] | None = DEFAULTS.cache_ram
    gpu_sampling: Switch = DEFAULTS.gpu_sampling
    step_ms: Annotated[int, _limited(STEP_MS_LIMITS)] = DEFAULTS.step_ms

    @property
    def load_options(self) -> LoadOptions:
        """Load options of these settings, for memory planning and the worker."""
        return LoadOptions(**{name: getattr(self, name) for name in LoadOptions.__struct_fields__})


class Settings(EngineSettings):
    """All settings of `localrouter serve`."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    api_key: SecretStr | None = None
    allow_host: Annotated[HostNames, NoDecode] = ()
    """Host names that requests may name the server by when it has no API key, beside localhost and IP addresses."""
    allow_origin: Annotated[WebOrigins, NoDecode] = ()
    """Origins of web pages that may use the server."""
    manifest: Path | None = None
    offline: bool = False
    default_model: Annotated[str, Field(min_length=1)] | None = None
    """Model of requests that name none; None: the only one that is served, if there is exactly one."""
    echo_model_name: bool = False
    """Responses have the name of the model that the request has, and not the full name of its build."""
    use_recommended_sampling: bool = False
    """Aliases use the `sampling` of the manifest also where that is not enabled there."""
    max_queue: int = Field(256, ge=0, le=100_000)
    """Requests that may wait per model beside those being computed; the next one is rejected with 429."""
    max_body: int = Field(8 * 1024 * 1024, ge=1024)
    """Largest request body, in bytes; a larger one is rejected with 413."""
    max_loaded: int = Field(2, ge=1, le=64)
    """Models that may be in memory at the same time; the one that is idle for longest is unloaded for another."""
    load_timeout: float = Field(600.0, gt=0, allow_inf_nan=False)
    """Seconds a model may take to load."""
    grace: float = Field(10.0, ge=0, allow_inf_nan=False)
    """Seconds that running requests have to finish after SIGTERM."""
    unknown_fields: Literal["reject", "ignore"] = "reject"
    """What becomes of a request with a field that is not known; ignored fields are named in a response header."""
    sse_ping_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False), AfterValidator(_check_ping)] = 15.0
    """Seconds without an event after which a stream gets a comment; 0: no comments."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def require_flash_attention_for_quantized_cache(self) -> None:
        """Raise ConfigError when the KV cache is quantized and flash attention is off, which llama.cpp refuses."""
        if self.load_options.needs_flash_attention and self.flash_attention == "off":
            raise ConfigError(
                f"--kv-type {self.kv_type} needs flash attention, and --flash-attention is off",
                hint="leave --flash-attention at auto, or take --kv-type f16",
            )

    def require_key_off_loopback(self) -> None:
        """Raise ConfigError when other machines could reach the server without an API key."""
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
