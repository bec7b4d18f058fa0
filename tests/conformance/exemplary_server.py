"""A server that keeps every promise of the reference, and can be told to break one.

Its model says the alphabet, a token for each character, and obeys schemas by taking the first value that they allow.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

Json = dict[str, Any]
Change = Callable[[Any], Any]
MODEL = "exemplary"
ALPHABET = "abcdefghijklmnopqrstuvwxyz" * 2
KNOWN = {
    *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens"),
    *("seed", "stop", "n", "logprobs", "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty"),
    *("response_format", "tools", "tool_choice", "parallel_tool_calls"),
}
RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "max_tokens": (1, 10**9),
    "max_completion_tokens": (1, 10**9),
    "n": (1, 128),
    "top_logprobs": (0, 20),
}
_numbers = count(1)


class Refusal(Exception):
    """A status and an error."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def validate(body: Json) -> None:
    """Refuse what the reference does not allow."""
    for name in body.keys() - KNOWN:
        raise Refusal(400, f"Unrecognized request argument supplied: {name}", name)
    if body.get("model") != MODEL:
        raise Refusal(404, "The model does not exist", None, "model_not_found")
    for name, (least, most) in RANGES.items():
        value = body.get(name, least)
        if not isinstance(value, int | float) or not least <= value <= most:
            raise Refusal(400, f"{name} is out of range", name)
    if len(body.get("stop") or []) > 4 and isinstance(body["stop"], list):
        raise Refusal(400, "too many stops", "stop")
    if "top_logprobs" in body and not body.get("logprobs"):
        raise Refusal(400, "top_logprobs wants logprobs", "top_logprobs")
    for token, bias in (body.get("logit_bias") or {}).items():
        if abs(bias) > 100 or int(token) > 255:
            raise Refusal(400, "a bias or a token is out of range", "logit_bias")
    validate_messages(body.get("messages"))
    validate_form(body)


def validate_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages has to be an array of at least one message", "messages")
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] not in ("system", "developer", "user", "assistant", "tool"):
            raise Refusal(400, "no such role", "messages.role")
        if message["role"] == "tool" and message["tool_call_id"] not in open_calls:
            raise Refusal(400, "no call has this id", "messages.tool_call_id")
        open_calls |= {call["id"] for call in message.get("tool_calls") or []}
        content = message["content"]
        if isinstance(content, list) and any(part["type"] != "text" for part in content):
            raise Refusal(400, "this model takes text", "messages.content")


def validate_form(body: Json) -> None:
    form = body.get("response_format", {"type": "text"})
    if form["type"] not in ("text", "json_object", "json_schema"):
        raise Refusal(400, "no such format", "response_format")
    if form["type"] == "json_schema" and form["json_schema"]["schema"]["type"] != "object":
        raise Refusal(400, "an invalid schema", "response_format")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["function"]["name"] not in [t["function"]["name"] for t in body["tools"]]:
        raise Refusal(400, "no such tool", "tool_choice")


def example(schema: Json) -> Any:
    """The first value that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "boolean":
        return True
    return {name: example(inner) for name, inner in schema.get("properties", {}).items()}


def says(body: Json) -> str:
    """What the model would say without limits."""
    form = body.get("response_format", {"type": "text"})
    if form["type"] == "json_object":
        return "{}"
    if form["type"] == "json_schema":
        return json.dumps(example(form["json_schema"]["schema"]))
    biases = body.get("logit_bias") or {}
    forced = [chr(int(token)) for token, bias in biases.items() if bias == 100]
    return forced[0] * 50 if forced else ALPHABET


def called(body: Json) -> Json | None:
    """The tool that has to be called."""
    choice = body.get("tool_choice")
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or []}
    if isinstance(choice, dict):
        return dict(tools[choice["function"]["name"]])
    return dict(next(iter(tools.values()))) if choice == "required" else None


def make_choice(body: Json, index: int) -> tuple[Json, int]:
    """One choice, and how many tokens it took."""
    limit = min(body.get("max_tokens", 100), body.get("max_completion_tokens", 100))
    function = called(body)
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    if function:
        call = {"name": function["name"], "arguments": json.dumps(example(function["parameters"]))}
        message["tool_calls"] = [{"id": f"call_{next(_numbers)}", "type": "function", "function": call}]
        return {"index": index, "message": message, "finish_reason": "tool_calls", "logprobs": None}, 5
    whole = says(body)
    text = whole[:limit]
    reason = "length" if len(whole) > limit else "stop"
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    cuts = [text.index(stop) for stop in stops if stop in text]
    if cuts:
        text, reason = text[: min(cuts)], "stop"
    message["content"] = text
    logprobs = {"content": [entry(char, body.get("top_logprobs", 0)) for char in text], "refusal": None}
    choice = {"index": index, "message": message, "finish_reason": reason}
    return {**choice, "logprobs": logprobs if body.get("logprobs") else None}, max(1, len(text))


def entry(char: str, top: int) -> Json:
    inner = {"token": char, "logprob": -0.5, "bytes": [*char.encode()]}
    return {**inner, "top_logprobs": [inner] * top}


def complete(body: Json) -> Json:
    """The plain answer."""
    made = [make_choice(body, index) for index in range(body.get("n", 1))]
    prompt = sum(4 + len(json.dumps(message)) for message in body["messages"])
    used = sum(tokens for _, tokens in made)
    return {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "system_fingerprint": "fp",
        "choices": [choice for choice, _ in made],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": used,
            "total_tokens": prompt + used,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def chunks(body: Json) -> Iterator[Json]:
    """The streamed answer."""
    answer = complete(body)
    with_usage = (body.get("stream_options") or {}).get("include_usage")
    head = {name: answer[name] for name in ("id", "created", "model", "system_fingerprint")}
    head |= {"object": "chat.completion.chunk"} | ({"usage": None} if with_usage else {})
    for choice in answer["choices"]:
        message, index = choice["message"], {"index": choice["index"]}
        deltas: list[Json] = [{"role": "assistant", "content": ""}, {"content": message["content"]}]
        for call in message.get("tool_calls") or []:
            deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **call}]}]
        for delta in deltas:
            logprobs = choice["logprobs"] if delta.get("content") else None
            yield {**head, "choices": [{**index, "delta": delta, "logprobs": logprobs, "finish_reason": None}]}
        yield {**head, "choices": [{**index, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    if with_usage:
        yield {**head, "choices": [], "usage": answer["usage"]}


class Handler(BaseHTTPRequestHandler):
    """Routes. `server` carries the changes."""

    protocol_version = "HTTP/1.1"
    server: "Exemplary"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        del format, args

    def do_GET(self) -> None:
        model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "nobody"}
        found = {"/v1/models": {"object": "list", "data": [model]}, f"/v1/models/{MODEL}": model}.get(self.path)
        missing = Refusal(404, "nothing is here", None, "model_not_found")
        self.answer(*((200, self.server.answers(found)) if found else (missing.status, missing.body)))

    def do_PUT(self) -> None:
        self.body()
        self.answer(405, Refusal(405, "not allowed").body)

    def do_POST(self) -> None:
        try:
            body = self.server.requests(json.loads(self.body()))
            validate(body)
            if body.get("stream"):
                self.stream(self.server.streams([*chunks(body)]))
            else:
                self.answer(200, self.server.answers(complete(body)))
        except ValueError:
            self.answer(400, Refusal(400, "no JSON").body)
        except Refusal as refusal:
            self.answer(refusal.status, refusal.body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def stream(self, events: list[Json]) -> None:
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        self.send(200, "text/event-stream", data + self.server.last)

    def answer(self, status: int, body: Any) -> None:
        if status >= 400:
            status, body = self.server.errors((status, body))
        self.send(status, "application/json", json.dumps(body))

    def send(self, status: int, media_type: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def unchanged(value: Any) -> Any:
    return value


class Exemplary(ThreadingHTTPServer):
    """What happens to requests, answers, streams and errors on their way; by default nothing."""

    daemon_threads = True
    requests: Change = staticmethod(unchanged)
    answers: Change = staticmethod(unchanged)
    streams: Change = staticmethod(unchanged)
    errors: Change = staticmethod(unchanged)
    last = "data: [DONE]\n\n"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def exemplary_server(**changes: Any) -> Iterator[Exemplary]:
    """Run the server on a free port; `changes` are attributes of Exemplary."""
    with Exemplary(("127.0.0.1", 0), Handler) as server:
        for name, change in changes.items():
            setattr(server, name, change)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
