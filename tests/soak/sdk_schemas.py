"""Types like those that users pass to SDK helpers, which generate schemas from them."""

import datetime
import decimal
import enum
import ipaddress
import uuid
from typing import Annotated, Any, Literal, NamedTuple, Optional

from pydantic import AnyUrl, BaseModel, ConfigDict, Field, StringConstraints, conint, conlist, constr
from typing_extensions import TypedDict


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


class Step(BaseModel):
    explanation: str
    output: str


class Reasoning(BaseModel):
    steps: list[Step]
    final_answer: str


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="as people call it")
    age: int | None = None


class Node(BaseModel):
    value: int
    children: list["Node"] = []


class Linked(BaseModel):
    value: str
    next: Optional["Linked"] = None


class Literals(BaseModel):
    kind: Literal["a", "b"]
    only: Literal["x"] = "x"
    number: Literal[1, 2, 3]
    mixed: Literal["one", 1, None]


class Dates(BaseModel):
    day: datetime.date
    moment: datetime.datetime
    time: datetime.time
    length: datetime.timedelta


class Constrained(BaseModel):
    score: Annotated[float, Field(ge=0, le=1)]
    count: conint(gt=0, lt=100)  # type: ignore[valid-type]
    step: Annotated[int, Field(multiple_of=5)]
    code: constr(min_length=2, max_length=4)  # type: ignore[valid-type]
    key: Annotated[str, StringConstraints(pattern=r"^[a-z]+_\d{2}$")]
    few: conlist(int, min_length=1, max_length=3)  # type: ignore[valid-type]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Number(BaseModel):
    type: Literal["number"] = "number"
    value: float


class Sum(BaseModel):
    type: Literal["sum"] = "sum"
    terms: list["Expression"] = Field(min_length=1)


Expression = Annotated[Number | Sum, Field(discriminator="type")]
Sum.model_rebuild()


class Component(BaseModel):
    type: Literal["div", "button"]
    label: str
    children: list["Component"]
    attributes: list[tuple[str, str]]


class Deep(BaseModel):
    class One(BaseModel):
        class Two(BaseModel):
            class Three(BaseModel):
                value: bool

            three: Three

        two: Two

    one: One


class Aliased(BaseModel):
    from_: str = Field(alias="from")
    class_: int = Field(alias="class")


class Documented(BaseModel):
    """What a model reads of it."""

    title: str = Field(title="The title", description="at most a line", examples=["x"], max_length=30)
    deprecated: int = Field(0, deprecated=True)


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    name: str
    year: int


class Partial(TypedDict, total=False):
    name: str
    year: int


class Everything(BaseModel):
    anything: Any
    mapping: dict[str, Any]
    optional: str | None
    either: int | str
    nested: dict[str, list[Strict]]


class Base(BaseModel):
    id: uuid.UUID


class Derived(Base):
    created: datetime.date


class Invoice(BaseModel):
    number: Annotated[str, StringConstraints(pattern=r"^INV-\d{4}$")]
    lines: list[tuple[str, Annotated[int, Field(ge=1)], Annotated[float, Field(ge=0)]]]
    paid: bool = False


class Tables(BaseModel):
    rows: list[dict[str, int | float | str | None]]


SDK_TYPES: dict[str, Any] = {
    each.__name__: each
    for each in (
        Step, Reasoning, Strict, Node, Linked, Literals, Dates, Constrained, Owner, Sum, Component, Deep, Aliased,
        Documented, Point, Movie, Partial, Everything, Derived, Invoice, Tables, Color, Level, Mixed,
    )
} | {
    "expression": Expression,
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "list of strings": list[str],
    "list of models": list[Strict],
    "map of numbers": dict[str, int],
    "map by enumeration": dict[Color, int],
    "map by literal": dict[Literal["p", "q"], bool],
    "map by pattern": dict[Annotated[str, StringConstraints(pattern="^[a-z]{8}$")], int],
    "map by length": dict[Annotated[str, StringConstraints(min_length=9, max_length=12)], int],
    "pair": tuple[int, str],
    "many of one": tuple[int, ...],
    "union of models": Cat | Step,
    "union of lists": list[int] | list[str],
    "optional list": list[Color] | None,
    "nested lists": list[list[list[int]]],
    "none": None,
    "uuid": uuid.UUID,
    "address": ipaddress.IPv4Address,
    "address of six": ipaddress.IPv6Address,
    "url": AnyUrl,
    "decimal": decimal.Decimal,
    "bounded decimal": Annotated[decimal.Decimal, Field(ge=0, le=10)],
    "literal": Literal["yes", "no"],
    "union of all": int | float | str | bool | list[int] | dict[str, int] | None,
    "bytes": bytes,
    "union of enumerations": Color | Level,
    "date or nothing": datetime.date | None,
}  # fmt: skip
