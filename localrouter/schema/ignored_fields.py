"""The fields of a request that are accepted without effect, for the response header, `explain` and the debug log."""

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from pydantic import BaseModel

from localrouter.schema.field_kinds import Ignored, Unsupported
from localrouter.schema.generation_fields import GenerationFields

NEUTRAL = "this value asks for what is the case anyway"
UNKNOWN = "not a field of localrouter's API"


class IgnoredField(msgspec.Struct, frozen=True):
    """A field of a request that has no effect. `field` is its path, with `[]` for each index of an array."""

    field: str
    why: str


def ignored_fields(request: BaseModel) -> list[IgnoredField]:
    """Return the fields of a validated request that have no effect, each path once, in the order of the request.

    Fields that are null are not listed: null is the same as omitting a field.
    """
    found: dict[str, str] = {}
    _collect(request, "", found)
    if isinstance(request, GenerationFields):
        found.update(request.without_effect())
    return [IgnoredField(field, why) for field, why in found.items()]


def _collect(part: BaseModel, prefix: str, found: dict[str, str]) -> None:
    kinds = _kinds(type(part))
    for name, value in part.__dict__.items():
        if value is None:
            continue
        if name in kinds:
            found.setdefault(prefix + name, kinds[name])
        elif isinstance(value, BaseModel):
            _collect(value, f"{prefix}{name}.", found)
        elif type(value) is list and value and isinstance(value[0], BaseModel):
            for item in value:
                _collect(item, f"{prefix}{name}[].", found)
    for name, value in (part.model_extra or {}).items():
        if value is not None:
            found.setdefault(prefix + name, UNKNOWN)


@lru_cache(maxsize=256)
def _kinds(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the fields of a model that never have an effect where they are accepted, each with the reason."""
    return {
        name: kind.why if isinstance(kind, Ignored) else NEUTRAL
        for name, field in model.model_fields.items()
        for kind in field.metadata
        if isinstance(kind, Ignored | Unsupported)
    }
