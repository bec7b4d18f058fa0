"""Checks of errors, the list of models, unknown fields, and details of usage."""

import json
from typing import Any

import httpx2

from localrouter.conformance.check import CheckGroup, Undecided, equal, expect
from localrouter.conformance.server_under_test import HELLO, ServerUnderTest

ERRORS = CheckGroup("errors")
MODELS = CheckGroup("models")
USAGE = CheckGroup("usage")
_CHAT = "/chat/completions"
_UNKNOWN_MODEL = "no-such-model-e5b1"


def _error(response: httpx2.Response, status: int) -> dict[str, Any]:
    """Return the error of an answer with this status."""
    equal(response.status_code, status, "status")
    error = response.json()["error"]
    expect(isinstance(error, dict) and error["message"], f"the error is {error!r}")
    return dict(error)


def _post(server: ServerUnderTest, **fields: Any) -> httpx2.Response:
    body = {"model": server.model, "messages": HELLO, "max_tokens": 1, **fields}
    return server.raw("POST", _CHAT, json.dumps(body))


@ERRORS.check()
def an_error_has_message_type_param_and_code(server: ServerUnderTest) -> None:
    """An error is an object with `message`, `type`, `param` and `code`."""
    error = _error(_post(server, messages="hello"), 400)
    expect({"message", "type", "param", "code"} <= error.keys(), f"the error has only {sorted(error)}")


@ERRORS.check()
def an_unknown_model_is_404(server: ServerUnderTest) -> None:
    """A model that does not exist is a 404 of code `model_not_found`."""
    equal(_error(_post(server, model=_UNKNOWN_MODEL), 404)["code"], "model_not_found", "code")


@ERRORS.check()
def malformed_json_is_400(server: ServerUnderTest) -> None:
    """A body that cannot be parsed is a bad request."""
    _error(server.raw("POST", _CHAT, '{"model": '), 400)


@ERRORS.check()
def a_missing_field_is_400(server: ServerUnderTest) -> None:
    """`messages` is required."""
    _error(server.raw("POST", _CHAT, json.dumps({"model": server.model})), 400)


@ERRORS.check()
def a_wrong_type_is_400_and_named(server: ServerUnderTest) -> None:
    """A value of a wrong type is a bad request; `param` is the field."""
    equal(_error(_post(server, temperature="hot"), 400)["param"], "temperature", "param")


@ERRORS.check()
def an_error_comes_before_the_stream(server: ServerUnderTest) -> None:
    """A streamed request that is invalid is answered with its status, not with 200 and a stream."""
    _error(_post(server, stream=True, temperature="hot"), 400)


@ERRORS.check()
def an_unknown_field_is_rejected(server: ServerUnderTest) -> None:
    """An argument that the API does not know is rejected with a 400 that names it."""
    error = _error(_post(server, no_such_field=1), 400)
    expect("no_such_field" in f"{error['message']} {error.get('param')}", "the error does not name the field")


@ERRORS.check()
def an_unknown_path_is_404(server: ServerUnderTest) -> None:
    """A path that is none is a 404 with an error object."""
    _error(server.raw("GET", "/no/such/path"), 404)


@ERRORS.check()
def a_wrong_method_is_405(server: ServerUnderTest) -> None:
    """A path that exists for another method is a 405 (RFC 9110, 15.5.6)."""
    equal(server.raw("PUT", _CHAT, "{}").status_code, 405, "status")


@MODELS.check()
def models_are_listed(server: ServerUnderTest) -> None:
    """The list of models is an object `list`; each has `id`, `created`, `owned_by` and the object `model`."""
    found = server.raw("GET", "/models").json()
    equal(found["object"], "list", "object")
    expect(found["data"], "there is no model")
    for model in found["data"]:
        equal(model["object"], "model", "object of a model")
        expect(type(model["created"]) is int, f"created is {model['created']!r}")
        expect(isinstance(model["id"], str) and isinstance(model["owned_by"], str), f"a model is {model!r:.200}")


@MODELS.check()
def one_model_can_be_retrieved(server: ServerUnderTest) -> None:
    """`GET /models/{model}` gives the model instance."""
    name = server.raw("GET", "/models").json()["data"][0]["id"]
    model = server.client.models.retrieve(name)
    equal([model.id, model.object], [name, "model"], "id and object")


@MODELS.check()
def an_unknown_model_cannot_be_retrieved(server: ServerUnderTest) -> None:
    """A model that does not exist is a 404."""
    _error(server.raw("GET", f"/models/{_UNKNOWN_MODEL}"), 404)


def _detail(usage: dict[str, Any], where: str, name: str) -> int:
    """Return one of the details, all of which the reference calls optional."""
    details = usage.get(where) or {}
    if details.get(name) is None:
        raise Undecided(f"usage has no {where}.{name}")
    return int(details[name])


@USAGE.check()
def usage_says_what_was_cached(server: ServerUnderTest) -> None:
    """`prompt_tokens_details.cached_tokens` is how many tokens of the prompt were cached."""
    usage = server.ask(max_tokens=1)["usage"]
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    expect(0 <= cached <= usage["prompt_tokens"], f"{cached} of {usage['prompt_tokens']} tokens were cached")


@USAGE.check()
def usage_says_what_was_reasoning(server: ServerUnderTest) -> None:
    """`completion_tokens_details.reasoning_tokens` is how many tokens were generated for reasoning."""
    usage = server.ask(max_tokens=4)["usage"]
    thought = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    expect(0 <= thought <= usage["completion_tokens"], f"{thought} of {usage['completion_tokens']} were reasoning")
