"""Reads calls as their families write them, strictly: a test wants to know of anything that is out of place."""

import json
import re
from typing import Any

Call = tuple[str, dict[str, Any]]


def read_json(text: str, _: dict[str, Any]) -> list[Call]:
    calls: list[Call] = []
    while text:
        found = re.match(r'<tool_call>\n\{"name": "(\w+)", "arguments": ', text)
        assert found, text
        arguments, end = json.JSONDecoder().raw_decode(text, found.end())
        assert text.startswith("}\n</tool_call>", end), text
        calls.append((found[1], arguments))
        text = text[end + len("}\n</tool_call>") :].removeprefix("\n").removeprefix("\n")
    return calls


def read_parameters(text: str, schemas: dict[str, Any]) -> list[Call]:
    calls: list[Call] = []
    while text:
        found = re.match(
            r"<tool_call>\n<function=(\w+)>\n((?:<parameter=[^>\n]+>\n(?:(?!</parameter>)(?s:.))*\n</parameter>\n)*)"
            r"</function>\n</tool_call>\n{0,2}",
            text,
        )
        assert found, text
        pairs = re.findall(r"<parameter=([^>\n]+)>\n((?s:.*?))\n</parameter>\n", found[2])
        schema = schemas[found[1]]
        calls.append((found[1], {name: _parameter(value, _property(schema, name), schema) for name, value in pairs}))
        text = text[found.end() :]
    return calls


def _property(schema: Any, name: str) -> Any:
    for part in [schema, *schema.get("allOf", [])]:
        if name in part.get("properties", {}):
            return part["properties"][name]
    for pattern, values in schema.get("patternProperties", {}).items():
        if re.search(pattern, name):
            return values
    return schema.get("additionalProperties", {})


def _parameter(text: str, schema: Any, root: Any) -> Any:
    types = kinds(schema, root)
    if types == {"string"}:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        assert "string" in types, text
        return text
    return value if _kind(value) in types or "string" not in types else text


def kinds(schema: Any, root: Any, hops: int = 0) -> set[str]:
    """The types of values that a schema may admit."""
    every = {"null", "boolean", "number", "string", "array", "object"}
    if not isinstance(schema, dict) or hops > 20:
        return every
    if "$ref" in schema:
        return kinds(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, hops + 1)
    found = every
    if "type" in schema:
        told = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        found = {"number" if name == "integer" else name for name in told}
    if "const" in schema or "enum" in schema:
        found = found & {_kind(value) for value in schema.get("enum", [schema.get("const")])}
    for branches in (schema.get("anyOf"), schema.get("oneOf")):
        if branches:
            found = found & set().union(*(kinds(each, root, hops + 1) for each in branches))
    for each in schema.get("allOf", []):
        found = found & kinds(each, root, hops + 1)
    return found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


QUOTE = '<|"|>'


def read_gemma(text: str, _: dict[str, Any]) -> list[Call]:
    calls: list[Call] = []
    while text:
        found = re.match(r"<\|tool_call>call:(\w+)(?=\{)", text)
        assert found, text
        arguments, end = _gemma_value(text, found.end())
        assert text.startswith("<tool_call|>", end), text[end:]
        calls.append((found[1], arguments))
        text = text[end + len("<tool_call|>") :].removeprefix("\n").removeprefix("\n")
    return calls


def _gemma_value(text: str, at: int) -> tuple[Any, int]:
    if text.startswith(QUOTE, at):
        end = text.index(QUOTE, at + len(QUOTE))
        return text[at + len(QUOTE) : end], end + len(QUOTE)
    if text[at] in "{[":
        return _gemma_list(text, at)
    found = re.compile(r"[^,}\]]+").match(text, at)
    assert found, text[at:]
    return json.loads(found[0]), found.end()


def _gemma_list(text: str, at: int) -> tuple[Any, int]:
    is_object = text[at] == "{"
    closing = "}" if is_object else "]"
    pairs: dict[str, Any] = {}
    items: list[Any] = []
    at += 1
    while text[at] != closing:
        if pairs or items:
            assert text[at] == ",", text[at:]
            at += 1
        if is_object:
            key, at = _gemma_key(text, at)
            pairs[key], at = _gemma_value(text, at)
        else:
            item, at = _gemma_value(text, at)
            items.append(item)
    return (pairs if is_object else items), at + 1


def _gemma_key(text: str, at: int) -> tuple[str, int]:
    if text.startswith(QUOTE, at):
        key, at = _gemma_value(text, at)
    else:
        end = text.index(":", at)
        key, at = text[at:end], end
        assert re.fullmatch(r"[\w.$@/-]+", key), key
    assert text[at] == ":", text[at:]
    return str(key), at + 1
