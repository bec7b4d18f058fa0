"""Context and capabilities of a model before it is loaded, from its GGUF header and the memory of this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from localrouter.chat.families.detection import family_of_template, may_reason
from localrouter.chat.families.prompted_tools import FALLBACK
from localrouter.load_options import LoadOptions
from localrouter.memory.devices import is_built_for_gpu
from localrouter.memory.machine import Machine, UnknownDevice, this_machine
from localrouter.memory.pool import DoesNotFit, pool_for, sizes_without_weights
from localrouter.memory.shape import Shape
from localrouter.weights.build_location import Found
from localrouter.weights.catalog import ResolvedModel
from localrouter.weights.header_cache import HeaderCache, HeaderSummary

Capability: TypeAlias = Literal["completion", "tools", "reasoning", "fim"]

_SECONDS = 60
"""Age after which the list of GPUs is read again: a child process lists them, which takes up to seconds."""


@dataclass(frozen=True)
class Forecast:
    """Facts of a model that is not loaded."""

    context: int | None
    """Longest prompt plus output in tokens; None where the model does not fit, or its header cannot be read."""
    capabilities: list[Capability]


class Forecaster:
    """Forecasts of models on disk. Blocks while headers are read: call it in a thread."""

    def __init__(self, options: LoadOptions, machine: Callable[[str | None], Machine] | None = None) -> None:
        """`options` are those of the server; `machine` returns this machine with the GPUs of a list of names."""
        self._options = options
        self._machine = machine or _RecentMachine()
        self._headers = HeaderCache()

    def forecast(self, model: ResolvedModel) -> Forecast:
        """Return the context that loading the model now would give it, and its capabilities. Never raises."""
        options = model.overrides.replace_in(self._options)
        if model.backend == "echo":
            return Forecast(sizes_without_weights(options)[0], capabilities(None, has_fim=False))
        summary = self._summary(model)
        if summary is None:
            return Forecast(None, capabilities(None, has_fim=False))
        template = _template(model) or summary.chat_template
        return Forecast(self._context(summary.shape, options), capabilities(template, has_fim=summary.has_fim))

    def has_fim(self, model: ResolvedModel) -> bool:
        """Return whether the vocabulary of the model's file has tokens for fill-in-the-middle."""
        summary = self._summary(model) if model.backend == "llama" else None
        return summary is not None and summary.has_fim

    def _summary(self, model: ResolvedModel) -> HeaderSummary | None:
        return self._headers.summary(Found(model.path, model.size))

    def _context(self, shape: Shape, options: LoadOptions) -> int | None:
        try:
            machine = self._machine(options.device)
            if options.tensor_split and len(options.tensor_split) != len(machine.gpus):
                return None  # the model cannot be loaded with these options
            return pool_for(shape, options, machine).context
        except (DoesNotFit, UnknownDevice):
            return None


class _RecentMachine:
    """This machine, whose GPUs are read again after some time."""

    def __init__(self) -> None:
        self._known: dict[str | None, tuple[float, Machine]] = {}

    def __call__(self, devices: str | None) -> Machine:
        """Return this machine with the GPUs of a list of names. Raises UnknownDevice."""
        if not is_built_for_gpu():
            return this_machine(devices)
        now = time.monotonic()
        known = self._known.get(devices)
        if known is None or now - known[0] > _SECONDS:
            known = self._known[devices] = (now, this_machine(devices))
        return known[1]


def capabilities(template: str | None, *, has_fim: bool) -> list[Capability]:
    """Return the capabilities of a model with this chat template, which is None where it has none.

    `tools` needs a template that shows tools in a known syntax. Other models get tools in their system message.
    """
    family = family_of_template(template)
    found: dict[Capability, bool] = {
        "completion": True,
        "tools": family != FALLBACK,
        "reasoning": may_reason(family, template),
        "fim": has_fim,
    }
    return [name for name, has in found.items() if has]


def _template(model: ResolvedModel) -> str | None:
    """Return the chat template that the manifest names; None without one, or where it cannot be read."""
    if model.chat_template is None:
        return None
    try:
        return Path(model.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
