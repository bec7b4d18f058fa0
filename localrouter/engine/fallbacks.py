"""Fallbacks: safer values of load options for a device on which a model failed with "auto"."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from localrouter.load_options import LoadOptions


class Fallback(msgspec.Struct, frozen=True):
    """A load option with which a model failed on a device, the safer value in its place, and the reason."""

    device: str
    """ggml's names of the GPUs, as `ComputeDevice.ids`; on other devices the fallback does not apply."""
    setting: Literal["gpu_sampling", "flash_attention", "gpu_layers"]
    value: str | int
    why: str


def applicable(options: LoadOptions, fallbacks: Sequence[Fallback], device: str) -> tuple[Fallback, ...]:
    """Return the fallbacks for this device that replace only options that the operator left at "auto".

    Flash attention stays on for a quantized KV cache, and layers stay on the GPU where one is required.
    """

    def is_free(each: Fallback) -> bool:
        if each.setting == "flash_attention" and options.needs_flash_attention:
            return False
        if each.setting == "gpu_layers" and each.value == 0 and options.require_gpu:
            return False
        return bool(getattr(options, each.setting) == "auto")

    return tuple(each for each in fallbacks if each.device == device and is_free(each))


def with_fallbacks(options: LoadOptions, fallbacks: Sequence[Fallback], device: str) -> LoadOptions:
    """Return the options with the values of those fallbacks that apply on this device, the last one of each option."""
    safer = {each.setting: each.value for each in applicable(options, fallbacks, device)}
    return msgspec.structs.replace(options, **safer)
