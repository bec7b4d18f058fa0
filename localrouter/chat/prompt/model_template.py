"""The chat template of a model, together with everything else that rendering needs to know of the model."""

from hashlib import sha256
from typing import Self

import msgspec

from localrouter.chat.families.detection import family_of
from localrouter.chat.families.family import Family
from localrouter.chat.prompt.fallback_template import FALLBACK_TEMPLATES
from localrouter.engine.model_info import ModelInfo


class ModelTemplate(msgspec.Struct, frozen=True):
    """The chat template, special tokens and family of one model. A rendering process receives it once."""

    source: str
    """The Jinja text: the model's own template, or the fallback for its vocabulary."""
    bos_token: str
    eos_token: str
    control_tokens: tuple[str, ...]
    """Texts that the tokenizer may read as one token each, without duplicates."""
    family: Family
    sha256: str
    """Digest of `source`, in hexadecimal digits."""
    key: str
    """Digest of all other fields, in hexadecimal digits."""

    @classmethod
    def of(cls, info: ModelInfo) -> Self:
        """Return the template of a loaded model. Computes two digests: call it once per model, not per request."""
        source = info.chat_template or FALLBACK_TEMPLATES[info.template_source].source
        tokens = tuple(dict.fromkeys([*info.control_tokens, *info.special_tokens]))
        family = family_of(info)
        facts = (source, info.bos_token, info.eos_token, tokens, family)
        return cls(*facts, sha256(source.encode()).hexdigest(), sha256(msgspec.json.encode(facts)).hexdigest())
