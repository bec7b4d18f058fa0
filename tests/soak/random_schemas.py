"""Random JSON schemas with all keywords that are enforced. At least one value is valid for each of them."""

import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

PATTERNS = [
    "^[a-z]{2,5}$",
    "[0-9]+",
    "^a|b$",
    r"^\d{3}-\d{4}$",
    r"\w\s\w",
    "^(yes|no)$",
    r"^[^\n/]+$",
    "é+",
    r"a\/b\.c",
]
FORMATS = ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"]
WORDS = ["a", "name", "two words", "ünï", "x-y", 'q"uote', "back\\slash", "1", "null", "true", "end</parameter"]


class Schemas:
    """Generates schemas from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._definitions: list[str] = []

    def document(self) -> Json:
        """Return a schema with definitions, some of which are recursive."""
        self._definitions = [f"def{index}" for index in range(self._random.randrange(3))]
        definitions = {name: self._definition(name) for name in self._definitions}
        return {**self.value(3), **({"$defs": definitions} if definitions else {})}

    def object_document(self) -> Json:
        """Return a schema of objects, like those of tools' parameters."""
        self._definitions = [f"def{index}" for index in range(self._random.randrange(3))]
        definitions = {name: self._definition(name) for name in self._definitions}
        return {**self._object(3), **({"$defs": definitions} if definitions else {})}

    def value(self, depth: int) -> Json:
        makers: list[Callable[[int], Json]] = [
            self._string,
            self._string,
            self._number,
            self._enumeration,
            self._scalar,
        ]
        if depth > 0:
            makers += [self._object, self._object, self._array, self._tuple, self._union, self._all_of, self._one_of]
        if self._definitions and depth < 3:
            makers.append(self._reference)
        made = self._random.choice(makers)(depth)
        if self._random.random() < 0.2:
            made = {"description": "what it is", **made, "default": None}
        return made

    def _definition(self, name: str) -> Json:
        leaves: list[Json] = [{"type": "integer"}, {"type": "string", "maxLength": 5}]
        leaf = self._random.choice(leaves)
        inner = {"type": "object", "properties": {"value": leaf, "next": {"$ref": f"#/$defs/{name}"}}}
        return self._random.choice(
            [
                {**inner, "required": ["value"], "additionalProperties": False},
                {"type": "array", "items": {"anyOf": [leaf, {"$ref": f"#/$defs/{name}"}]}, "maxItems": 3},
                leaf,
            ]
        )

    def _reference(self, _: int) -> Json:
        return {"$ref": f"#/$defs/{self._random.choice(self._definitions)}"}

    def _string(self, _: int) -> Json:
        match self._random.randrange(5):
            case 0:
                return {"type": "string", "pattern": self._random.choice(PATTERNS)}
            case 1:
                return {"type": "string", "format": self._random.choice(FORMATS)}
            case 2:
                least = self._random.randrange(4)
                return {"type": "string", "minLength": least, "maxLength": least + self._random.randrange(5)}
            case 3:
                return {"type": "string", "pattern": "[a-z]", "minLength": 3, "maxLength": 20}
        return {"type": "string"}

    def _number(self, _: int) -> Json:
        least = self._random.randrange(-50, 50)
        choices: list[Json] = [
            {},
            {"minimum": least},
            {"maximum": least},
            {"minimum": least, "maximum": least + self._random.randrange(100)},
            {"exclusiveMinimum": least, "exclusiveMaximum": least + 2 + self._random.randrange(9)},
        ]
        bounds = self._random.choice(choices)
        if self._random.random() < 0.2:
            return {"type": "integer", "multipleOf": self._random.choice([2, 5, 7, 100])}
        return {"type": self._random.choice(["integer", "number"]), **bounds}

    def _scalar(self, _: int) -> Json:
        return self._random.choice(
            [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": ["integer", "boolean"]}]
        )

    def _enumeration(self, _: int) -> Json:
        values = [*WORDS, 1, -3, 2.5, True, None, [1, "a"], {"k": ["v"]}]
        if self._random.random() < 0.3:
            return {"const": self._random.choice(values)}
        return {"enum": self._random.sample(values, self._random.randrange(1, 5))}

    def _object(self, depth: int) -> Json:
        names = self._random.sample(WORDS[:9], self._random.randrange(5))
        if self._random.random() < 0.2 or not names:
            return self._map(depth)
        made: Json = {"type": "object", "properties": {name: self.value(depth - 1) for name in names}}
        if self._random.random() < 0.7:
            made["required"] = self._random.sample(names, self._random.randrange(len(names) + 1))
        if self._random.random() < 0.6:
            made["additionalProperties"] = self._random.choice([False, True, {"type": "integer"}])
        return made

    def _map(self, depth: int) -> Json:
        values = self.value(depth - 1)
        return self._random.choice(
            [
                {"type": "object", "additionalProperties": values},
                {"type": "object", "patternProperties": {"^k[0-9]+$": values}, "additionalProperties": False},
                {"type": "object", "additionalProperties": values, "propertyNames": {"pattern": "^[a-f]{9,12}$"}},
                {"type": "object", "additionalProperties": values, "propertyNames": {"enum": ["p", "q"]}},
                {"type": "object", "additionalProperties": values, "maxProperties": 3},
            ]
        )

    def _array(self, depth: int) -> Json:
        least = self._random.randrange(3)
        bounds = (
            {"minItems": least, "maxItems": least + self._random.randrange(3)} if self._random.random() < 0.6 else {}
        )
        return {"type": "array", "items": self.value(depth - 1), **bounds}

    def _tuple(self, depth: int) -> Json:
        first = [self.value(depth - 1) for _ in range(self._random.randrange(1, 3))]
        rests: list[Json] = [{"items": False}, {"items": {"type": "null"}}, {"minItems": len(first)}]
        rest = self._random.choice(rests)
        return {"type": "array", "prefixItems": first, **rest}

    def _union(self, depth: int) -> Json:
        return {"anyOf": [self.value(depth - 1) for _ in range(self._random.randrange(1, 4))]}

    def _all_of(self, depth: int) -> Json:
        one = {"type": "object", "properties": {"left": self.value(depth - 1)}, "required": ["left"]}
        other = {"properties": {"right": self.value(depth - 1), "left": {"description": "as above"}}}
        return {"allOf": [one, other]}

    def _one_of(self, depth: int) -> Json:
        cat = {"properties": {"kind": {"const": "cat"}, "lives": self.value(depth - 1)}, "required": ["kind"]}
        dog = {"properties": {"kind": {"const": "dog"}}, "additionalProperties": False}
        return {"oneOf": [{"type": "object", **cat}, {"type": "object", **dog}, {"type": "null"}]}
