"""Facts of a loaded model that every request to it needs, computed once per loaded model."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from localrouter import __version__
from localrouter.chat.families.detection import may_reason
from localrouter.chat.families.family import Family
from localrouter.chat.prompt.fallback_template import FALLBACK_TEMPLATES
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.engine.model_info import ModelInfo
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults

CACHED = 32
"""Loaded models whose facts are kept; those used longest ago are dropped first."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts of one loaded model, and the defaults of the alias that a request names it by."""

    info: ModelInfo
    fingerprint: str
    """OpenAI's `system_fingerprint`: changes with everything that may change the output for a request and seed."""
    template: ModelTemplate
    template_stop: tuple[str, ...]
    """Stop strings of the chat template's turn format; empty where a special token ends a turn."""
    can_reason: bool
    """Whether the chat template has the family's delimiter of reasoning."""
    defaults: AliasDefaults = NO_DEFAULTS
    """Values for fields that a request leaves out."""

    @property
    def family(self) -> Family:
        """How the model writes reasoning and tool calls."""
        return self.template.family


def facts_of(model: str, info: ModelInfo, defaults: AliasDefaults = NO_DEFAULTS) -> ModelFacts:
    """Return the facts of a loaded model. `model` is its full name, `info` the one object that its engine holds.

    `defaults` are those of the alias that a request names; other defaults give another fingerprint.
    """
    return _facts(model, _Identity(info), defaults)


class _Identity:
    """A ModelInfo as a cache key. Keys are equal for the same object only: comparing templates would cost more."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def __hash__(self) -> int:
        return id(self.info)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.info is other.info


@lru_cache(maxsize=CACHED)
def _facts(model: str, key: _Identity, defaults: AliasDefaults) -> ModelFacts:
    info = key.info
    template = ModelTemplate.of(info)
    return ModelFacts(
        info=info,
        fingerprint=_fingerprint(model, info, defaults),
        template=template,
        defaults=defaults,
        template_stop=() if info.chat_template else FALLBACK_TEMPLATES[info.template_source].stop,
        can_reason=may_reason(template.family, info.chat_template),
    )


def _fingerprint(model: str, info: ModelInfo, defaults: AliasDefaults) -> str:
    facts = f"{__version__} {model} {info.size} {info.parameters} {info.device} {info.threads}"
    if defaults != NO_DEFAULTS:
        facts += f" {defaults}"
    return "fp_" + blake2b(facts.encode(), digest_size=5).hexdigest()
