"""The OpenAPI document: paths, security, headers, and the schemas of all bodies."""

from functools import cache
from typing import Any

import msgspec

from localrouter import __version__
from localrouter.api.error_responses import ErrorBody
from localrouter.api.openapi.operations import EVENT_STREAM, JSON, OPERATIONS, Operation, Parameter
from localrouter.api.openapi.schemas import JsonObject, components, reference

VERSION = "3.1.0"

SECURITY: JsonObject = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x_api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
"""Ways of sending the API key, each enough by itself."""

HEADERS: JsonObject = {
    "x-request-id": "id of the request, which the server's log has too",
    "x-localrouter-ignored": "fields of the request that have no effect, separated by commas",
    "x-localrouter-not-enforced": "paths of the parts of schemas that the output may violate, separated by commas",
    "retry-after": "seconds after which a retry is sensible",
}

ERRORS = {
    400: "The request is invalid; `param` names the field. Or it has no valid Host header.",
    401: "No API key, or a wrong one; only of a server with a key.",
    403: "The host name or the origin is not allowed on a server without a key.",
    404: "The model is not known, or not on this machine.",
    413: "The body is larger than the limit.",
    415: "The body is not JSON by its content type, or its encoding is not supported.",
    429: "The queue of the model is full.",
    500: "A fault of the server; its log has more under the id of the request.",
    503: "The server shuts down.",
}
"""The statuses of errors."""
OF_EVERY_ROUTE = {400, 403, 500}
OF_A_BODY = {404, 413, 415, 429, 503}
RETRIED = {429, 503}
"""Statuses with the header `retry-after`."""


@cache
def document_body(*, locked: bool) -> bytes:
    """Return the document as JSON. `locked`: the server has an API key."""
    return msgspec.json.format(msgspec.json.encode(document(locked=locked)))


def document(*, locked: bool) -> JsonObject:
    """Return the document. `locked`: the server has an API key."""
    return {
        "openapi": VERSION,
        "info": {
            "title": "localrouter",
            "version": __version__,
            "summary": "An OpenAI-compatible API for GGUF models on this machine.",
            "description": "Every GET route answers HEAD too. docs/api.md of localrouter describes all fields.",
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": _paths(locked=locked),
        "components": {
            "schemas": components(
                {each.request: None for each in OPERATIONS if each.request},
                {kind: None for each in OPERATIONS for kind in _response_types(each) if kind},
            ),
            "responses": {_name(status): _error(status) for status in ERRORS},
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
            "securitySchemes": SECURITY,
        },
    }


def _response_types(operation: Operation) -> tuple[type[msgspec.Struct] | None, ...]:
    return operation.response, operation.or_response, operation.chunk, ErrorBody


def _paths(*, locked: bool) -> JsonObject:
    """Return every path with its operation; the names of operations are unique in the document."""
    paths: JsonObject = {}
    for operation in OPERATIONS:
        for number, path in enumerate(operation.paths, 1):
            name = operation.id if number == 1 else f"{operation.id}_{number}"
            paths.setdefault(path, {})[operation.method] = _described(operation, path, name, locked=locked)
    return paths


def _described(operation: Operation, path: str, name: str, *, locked: bool) -> JsonObject:
    first = operation.paths[0]
    described: JsonObject = {
        "operationId": name,
        "summary": operation.summary,
        "responses": _responses(operation),
        "security": [{scheme: []} for scheme in SECURITY] if locked and operation.needs_key else [],
    }
    if path != first:
        described["description"] = f"The same as {first}."
    if operation.parameters:
        described["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.request is not None:
        described["requestBody"] = {"required": True, "content": {JSON: _content(operation.request)}}
    return described


def _parameter(parameter: Parameter) -> JsonObject:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": {"type": "string"},
    }


def _responses(operation: Operation) -> JsonObject:
    statuses = set(OF_EVERY_ROUTE)
    if operation.request is not None:
        statuses |= OF_A_BODY
    if operation.needs_key:
        statuses.add(401)
    if operation.parameters:
        statuses.add(404)
    made: JsonObject = {"200": _success(operation)}
    made |= {str(status): reference(_name(status), "responses") for status in sorted(statuses)}
    if operation.unavailable:
        made["503"] = {**_success(operation), "description": operation.unavailable, "headers": _headers(retried=True)}
    return made


def _success(operation: Operation) -> JsonObject:
    description, content = "The response.", {operation.media_type: _content(operation.response, operation.or_response)}
    if operation.chunk is not None:
        content[EVENT_STREAM] = _content(operation.chunk)
        description = (
            "The response; with `stream: true` server-sent events, each with one chunk as its data. The last event is "
            "`data: [DONE]`, or an error in the form of every error."
        )
    names = ("x-localrouter-ignored", "x-localrouter-not-enforced") if operation.request else ()
    return {"description": description, "headers": _headers(*names), "content": content}


def _error(status: int) -> JsonObject:
    return {
        "description": ERRORS[status],
        "headers": _headers(retried=status in RETRIED),
        "content": {JSON: _content(ErrorBody)},
    }


def _headers(*names: str, retried: bool = False) -> JsonObject:
    return {name: reference(name, "headers") for name in ("x-request-id", *names, *(["retry-after"] * retried))}


def _content(*kinds: type[Any] | None) -> JsonObject:
    """Return the schema of a body of one of these types; without a type it is any object."""
    schemas = [reference(kind.__name__) for kind in kinds if kind]
    return {"schema": {"anyOf": schemas} if len(schemas) > 1 else schemas[0] if schemas else {"type": "object"}}


def _name(status: int) -> str:
    return f"Error{status}"
