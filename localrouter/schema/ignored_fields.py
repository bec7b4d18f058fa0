"""The fields of a request that are accepted without effect, for the response header, `explain` and the debug log."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec
from pydantic import BaseModel

from localrouter.schema.field_kinds import Ignored, Nested, Strict, Unsupported

NEUTRAL = "this value asks for what is the case anyway"
UNKNOWN = "not a field of localrouter's API"

MAX_FIELDS = 1000
"""Fields that are listed for one request: a body of 8 MB has room for a million unknown ones."""
MAX_NAME = 100
"""Characters of one name in a path."""


class IgnoredField(msgspec.Struct, frozen=True):
    """A field of a request that has no effect. `field` is its path, with `[]` for each index of an array."""

    field: str
    why: str


MORE = IgnoredField("...", f"the request has more than {MAX_FIELDS} ignored fields")


def ignored_fields(request: BaseModel) -> list[IgnoredField]:
    """Return the fields of a validated request that have no effect, each path once, in the order of the models.

    Fields that are null are not listed: null is the same as omitting a field. After `MAX_FIELDS` fields follows `MORE`.
    """
    found: dict[str, IgnoredField] = {}
    for path, why in _ignored(request, ""):
        if path in found:
            continue
        if len(found) == MAX_FIELDS:
            return [*found.values(), MORE]
        found[path] = IgnoredField(path, why)
    return list(found.values())


def _ignored(part: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each ignored field of an object and of the objects inside it, with the reason."""
    kinds = _kinds(type(part))
    for name, value in part.__dict__.items():
        if value is None:
            continue
        if name in kinds:
            yield prefix + name, kinds[name]
        elif isinstance(value, BaseModel | list):
            yield from _inside(value, prefix + name)
    if isinstance(part, Strict | Nested):
        for name, why in part.without_effect().items():
            if getattr(part, name, "") is not None:  # foreign fields are no attributes
                yield prefix + name, why
    for name, value in (part.model_extra or {}).items():
        if value is not None:
            yield prefix + (name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..."), UNKNOWN


def _inside(value: BaseModel | list[object], path: str) -> Iterator[tuple[str, str]]:
    """Yield the ignored fields of an object, or of the objects in an array, at `path`."""
    if isinstance(value, BaseModel):
        yield from _ignored(value, f"{path}.")
    elif value and isinstance(value[0], BaseModel):
        items = f"{path}[]."
        for item in value:
            if isinstance(item, BaseModel) and not (isinstance(item, Nested) and item.is_plain):
                yield from _ignored(item, items)


@lru_cache(maxsize=256)
def _kinds(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the fields of a model that never have an effect where they are accepted, each with the reason."""
    return {
        name: kind.why if isinstance(kind, Ignored) else NEUTRAL
        for name, field in model.model_fields.items()
        for kind in field.metadata
        if isinstance(kind, Ignored | Unsupported)
    }
