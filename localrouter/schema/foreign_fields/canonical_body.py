"""From a body with foreign fields to one that has our fields only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from pydantic import BaseModel

from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject, is_same
from localrouter.schema.foreign_fields.foreign_field import Assignment, Condition, ForeignField
from localrouter.schema.foreign_fields.table import FOREIGN_FIELDS
from localrouter.schema.ignored_fields import MAX_FIELDS, UNKNOWN, IgnoredField


@dataclass(frozen=True)
class CanonicalBody:
    """A body without foreign fields."""

    fields: JsonObject
    sources: Mapping[str, str] = field(default_factory=dict)
    """For each of our fields that a foreign field has set, the path of the foreign one in the request."""
    ignored: tuple[IgnoredField, ...] = ()
    """Foreign fields without effect."""

    def source(self, name: str) -> str:
        """Return the path in the request where the value of our field `name` stands."""
        return self.sources.get(name, name)


def canonical_body(body: JsonObject, model: type[BaseModel], *, ignore_unknown: bool = False) -> CanonicalBody:
    """Return a body with its foreign fields replaced by the fields of `model`, or taken out where they have no effect.

    `ignore_unknown`: fields that are neither of the model nor foreign are taken out too; they remain otherwise.

    Raises InvalidRequest for a foreign field with a wrong value, and for two fields that set one thing differently.
    """
    known, own = foreign_fields(model), model.model_fields
    if own.keys() >= body.keys():
        return CanonicalBody(body)
    fields = {name: value for name, value in body.items() if name not in known}
    sources: dict[str, str] = {}
    ignored: list[IgnoredField] = []
    conditions: list[Condition] = []
    if ignore_unknown:
        ignored = [IgnoredField(name, UNKNOWN) for name in fields if name not in own][:MAX_FIELDS]
        fields = {name: value for name, value in fields.items() if name in own}
    for name, value in body.items():
        if name not in known or value is None:
            continue
        for outcome in known[name].read(value, name):
            if isinstance(outcome, Assignment):
                _assign(outcome, fields, sources)
            elif isinstance(outcome, Condition):
                conditions.append(outcome)
            else:
                ignored.append(outcome)
    ignored += [_without_effect(condition, fields, sources) for condition in conditions]
    return CanonicalBody(fields, sources, tuple(ignored))


def _assign(given: Assignment, fields: JsonObject, sources: dict[str, str]) -> None:
    """Set a field. Raises InvalidRequest where it has another value already."""
    name, value, source = given
    if value is None:
        return
    before = fields.get(name)
    if before is not None and not is_same(before, value):
        raise InvalidRequest(
            f"'{source}' and '{sources.get(name, name)}' set one thing to different values; send one of them.",
            param=source,
            code="invalid_value",
        )
    if before is None:
        fields[name] = value
        sources[name] = source


def _without_effect(condition: Condition, fields: JsonObject, sources: Mapping[str, str]) -> IgnoredField:
    """Return the field of a condition as ignored. Raises InvalidRequest where one of the other fields is set."""
    for name, neutral in condition.neutral.items():
        value = fields.get(name)
        if value is not None and not is_same(value, neutral):
            message = f"'{condition.source}' is not supported with '{sources.get(name, name)}'; leave it out."
            raise InvalidRequest(message, param=condition.source, code="unsupported_parameter")
    return IgnoredField(condition.source, f"without {', '.join(condition.neutral)} it has no effect")


@lru_cache(maxsize=16)
def foreign_fields(model: type[BaseModel]) -> Mapping[str, ForeignField]:
    """Return the foreign fields that a request of this model may have: those that set its fields, or none at all.

    A model's own field wins over a foreign one of the same name.
    """
    own = model.model_fields.keys()
    return {
        name: each
        for fields in FOREIGN_FIELDS.values()
        for name, each in fields.items()
        if name not in own and (not each.fields or each.fields & own)
    }
