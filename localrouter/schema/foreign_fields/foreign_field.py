"""The kinds of foreign fields: fields of other servers' APIs, which our request models do not have."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec

from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import is_same
from localrouter.schema.ignored_fields import NEUTRAL, IgnoredField


class Assignment(NamedTuple):
    """A value for one of our fields, and the path in the request where the value stands."""

    field: str
    value: object
    source: str


class Condition(NamedTuple):
    """A field at `source` that has no effect as long as our fields in `neutral` are not set, or have these values."""

    source: str
    neutral: Mapping[str, object]


Outcome: TypeAlias = Assignment | IgnoredField | Condition
"""What a part of a foreign field means here."""


class ForeignField(ABC):
    """A field of another server's API, and its meaning here."""

    @abstractmethod
    def read(self, value: Any, path: str) -> Iterable[Outcome]:
        """Return the meaning of a value, which is not null, at `path` in the request. Raises InvalidRequest."""

    @property
    @abstractmethod
    def meaning(self) -> tuple[str, str]:
        """The two cells of the table in docs/api.md: what becomes of the field, and a note."""

    @property
    def fields(self) -> frozenset[str]:
        """Our fields that this field may set. A request model that has none of them does not have this field either."""
        return frozenset()


def unchanged(value: Any, _path: str) -> Any:
    """Return the value: the conversion of a field that differs from ours in its name only."""
    return value


@dataclass(frozen=True)
class Alias(ForeignField):
    """Another name of one of our fields. `convert` turns a value at a path into ours, or raises InvalidRequest."""

    field: str
    note: str = ""
    convert: Callable[[Any, str], object] = unchanged

    def read(self, value: Any, path: str) -> Iterator[Outcome]:
        """Yield the value for our field."""
        yield Assignment(self.field, self.convert(value, path), path)

    @property
    def meaning(self) -> tuple[str, str]:
        """Our field's name, and how values differ."""
        return f"as `{self.field}`", self.note

    @property
    def fields(self) -> frozenset[str]:
        """The one field."""
        return frozenset({self.field})


@dataclass(frozen=True)
class Setting(ForeignField):
    """A field whose value decides which of our fields are set, by a function of its own."""

    sets: frozenset[str]
    note: str
    assignments: Callable[[Any, str], Iterable[Outcome]]

    def read(self, value: Any, path: str) -> Iterable[Outcome]:
        """Return the values for our fields."""
        return self.assignments(value, path)

    @property
    def meaning(self) -> tuple[str, str]:
        """Names of our fields, and which value sets which."""
        return f"as {' and '.join(f'`{name}`' for name in sorted(self.sets))}", self.note

    @property
    def fields(self) -> frozenset[str]:
        """All fields that a value may set."""
        return self.sets


@dataclass(frozen=True)
class Members(ForeignField):
    """An object whose members are foreign fields themselves. Unknown members are rejected by name."""

    members: Mapping[str, ForeignField]

    def read(self, value: Any, path: str) -> Iterator[Outcome]:
        """Yield the meanings of all members that are not null."""
        if not isinstance(value, dict):
            raise InvalidRequest(f"Invalid type for '{path}': expected an object.", param=path, code="invalid_type")
        for name, each in value.items():
            where = f"{path}.{name}"[:80]
            if each is None:
                continue
            if name not in self.members:
                raise InvalidRequest(f"Unknown parameter: '{where}'.", param=where, code="unknown_parameter")
            yield from self.members[name].read(each, where)

    @property
    def meaning(self) -> tuple[str, str]:
        """The meaning of each member."""
        parts = (f"`{name}` {member.meaning[0]}" for name, member in self.members.items())
        return "an object", "; ".join(parts)

    @property
    def fields(self) -> frozenset[str]:
        """All fields that a member may set."""
        return frozenset().union(*(member.fields for member in self.members.values()))


@dataclass(frozen=True)
class NoEffect(ForeignField):
    """A field that changes nothing of the output, whatever its value."""

    why: str

    def read(self, _value: Any, path: str) -> Iterator[Outcome]:
        """Yield that the field is ignored."""
        yield IgnoredField(path, self.why)

    @property
    def meaning(self) -> tuple[str, str]:
        """The reason why this is harmless."""
        return "accepted and ignored", self.why


@dataclass(frozen=True)
class Dependent(ForeignField):
    """A field that has no effect with the value `default`, or while other fields of ours have their neutral values."""

    default: object
    neutral: Mapping[str, object]

    def read(self, value: Any, path: str) -> Iterator[Outcome]:
        """Yield that the field is ignored, or the condition for it."""
        yield IgnoredField(path, NEUTRAL) if is_same(value, self.default) else Condition(path, self.neutral)

    @property
    def meaning(self) -> tuple[str, str]:
        """The default, and the other fields."""
        names = ", ".join(f"`{name}`" for name in self.neutral)
        return "400 `unsupported_parameter`", f"unless `null` or `{_written(self.default)}`, or without {names}"


class Neutral(ForeignField):
    """A field that is rejected, except for the values that ask for what is the case anyway."""

    def __init__(self, *values: object) -> None:
        """`values` are the neutral ones; null is always neutral."""
        self._values = values

    def read(self, value: Any, path: str) -> Iterator[Outcome]:
        """Yield that the field is ignored. Raises InvalidRequest for a value that asks for something."""
        if not any(is_same(value, neutral) for neutral in self._values):
            unless = f" with this value; leave it out or send {' or '.join(self.accepted)}" if self._values else ""
            raise InvalidRequest(f"'{path}' is not supported{unless}.", param=path, code="unsupported_parameter")
        yield IgnoredField(path, NEUTRAL)

    @property
    def meaning(self) -> tuple[str, str]:
        """The neutral values."""
        return "400 `unsupported_parameter`", f"unless {' or '.join(f'`{each}`' for each in ['null', *self.accepted])}"

    @property
    def accepted(self) -> list[str]:
        """The neutral values as they are written in JSON."""
        return [_written(value) for value in self._values]


def _written(value: object) -> str:
    return msgspec.json.encode(value).decode()
