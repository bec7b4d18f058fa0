"""Facts of a loaded model that every request to it needs, computed once per loaded model."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from localrouter import __version__
from localrouter.chat.families.family import Family
from localrouter.chat.prompt.fallback_template import FALLBACK_TEMPLATES
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.engine.model_info import ModelInfo

CACHED = 32
"""Loaded models whose facts are kept; those used longest ago are dropped first."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts of one loaded model."""

    info: ModelInfo
    fingerprint: str
    """OpenAI's `system_fingerprint`: changes with everything that may change the output for a request and seed."""
    template: ModelTemplate
    template_stop: tuple[str, ...]
    """Stop strings of the chat template's turn format; empty where a special token ends a turn."""
    can_reason: bool
    """Whether the chat template has the family's delimiter of reasoning."""

    @property
    def family(self) -> Family:
        """How the model writes reasoning and tool calls."""
        return self.template.family


def facts_of(model: str, info: ModelInfo) -> ModelFacts:
    """Return the facts of a loaded model. `model` is its full name, `info` the one object that its engine holds."""
    return _facts(model, _Identity(info))


class _Identity:
    """A ModelInfo as a cache key. Keys are equal for the same object only: comparing templates would cost more."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def __hash__(self) -> int:
        return id(self.info)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.info is other.info


@lru_cache(maxsize=CACHED)
def _facts(model: str, key: _Identity) -> ModelFacts:
    info = key.info
    template = ModelTemplate.of(info)
    return ModelFacts(
        info=info,
        fingerprint=_fingerprint(model, info),
        template=template,
        template_stop=() if info.chat_template else FALLBACK_TEMPLATES[info.template_source].stop,
        can_reason=template.family.reasoning.begin in (info.chat_template or ""),
    )


def _fingerprint(model: str, info: ModelInfo) -> str:
    facts = f"{__version__} {model} {info.size} {info.parameters} {info.device} {info.threads}"
    return "fp_" + blake2b(facts.encode(), digest_size=5).hexdigest()
