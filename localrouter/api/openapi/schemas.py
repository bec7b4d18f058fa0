"""The JSON schemas of all request and response bodies, as components of the OpenAPI document."""

import re
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec.inspect import StructType, Type, multi_type_info
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

JsonObject = dict[str, Any]

LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_ELSEWHERE = re.compile(r"; see (?:below$|\[.*)")
"""A reference to another part of the page that has the table of fields, in the description of a field."""


def reference(name: str, section: str = "schemas") -> JsonObject:
    """Return a reference to a component of the document."""
    return {"$ref": f"#/components/{section}/{name}"}


def components(requests: Iterable[type[BaseModel]], responses: Iterable[type[msgspec.Struct]]) -> JsonObject:
    """Return the schemas of these types and of the types inside them, by name.

    Raises ValueError when a type of a request and a type of a response have the same name.
    """
    read, written = _request_schemas(requests), _response_schemas(responses)
    shared = read.keys() & written.keys()
    if shared:
        raise ValueError(f"a request and a response have types of the same name: {sorted(shared)}")
    return dict(sorted({**read, **written}.items()))


class _RequestSchema(GenerateJsonSchema):
    """Generator of the schemas of request bodies, without titles of fields."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Return a union as `anyOf`: the tag decides between types that would both be valid, as for an empty array."""
        made = super().tagged_union_schema(schema)
        return {"anyOf" if key == "oneOf" else key: value for key, value in made.items()}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: the name of a field is its title."""
        del schema
        return False


def _request_schemas(types: Iterable[type[BaseModel]]) -> JsonObject:
    """Return the schemas of bodies that pydantic validates."""
    _, made = models_json_schema(
        [(each, "validation") for each in types],
        ref_template=reference("{model}")["$ref"],
        schema_generator=_RequestSchema,
    )
    schemas: JsonObject = made["$defs"]
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            _amend(field)
    return schemas


def _amend(schema: JsonObject) -> None:
    """Name limits as JSON Schema does, which pydantic omits behind a validator, and drop references to the page."""
    for name in LIMITS.keys() & schema.keys():
        schema[LIMITS[name]] = schema.pop(name)
    if "description" in schema:
        schema["description"] = _ELSEWHERE.sub("", schema["description"])
    for part in schema.get("anyOf", ()):
        _amend(part)


def _response_schemas(types: Iterable[type[msgspec.Struct]]) -> JsonObject:
    """Return the schemas of bodies that msgspec writes, with the fields that a body always has as required."""
    wanted = list(types)
    _, schemas = msgspec.json.schema_components(wanted, ref_template=reference("{name}")["$ref"])
    for struct in _structs(multi_type_info(wanted)):
        schema = schemas[struct.cls.__name__]
        schema["required"] = list(_always_written(struct))
        schema["description"] = cleandoc(schema.get("description", ""))
    return schemas


def _structs(nodes: Iterable[object]) -> Iterator[StructType]:
    """Yield every struct among these types and inside them; some of them several times."""
    for node in nodes:
        if isinstance(node, StructType):
            yield node
            yield from _structs(field.type for field in node.fields)
        elif isinstance(node, Type):
            for part in msgspec.structs.asdict(node).values():
                yield from _structs(part if isinstance(part, tuple) else (part,))


def _always_written(struct: StructType) -> Iterator[str]:
    """Yield the fields that a body always has: not those that may be UNSET, nor defaults where these are omitted."""
    for field in struct.fields:
        has_default = field.default is not NODEFAULT or field.default_factory is not NODEFAULT
        if field.required or (has_default and not struct.cls.__struct_config__.omit_defaults):
            yield field.encode_name
