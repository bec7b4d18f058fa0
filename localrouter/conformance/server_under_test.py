"""Server under test: requests through the openai client, and over plain HTTP where the client validates too much."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk

MAX_TOKENS = 16
"""Default output limit of a request, in tokens."""
_MOST_LINES = 5000
"""Lines after which a stream counts as endless: far more than its output limit allows."""
_SHOWN = 2000
"""Characters of a response that are kept for the report."""
_ALONE = {"Connection": "close"}
"""Header for one connection per request: a server may close idle connections, which only retries would hide."""
HELLO = [{"role": "user", "content": "Say something."}]


class Endless(Exception):
    """A stream went on far beyond its output limit."""


class TooLate(httpx2.TimeoutException):
    """The time limit of a check is exceeded."""

    def __init__(self) -> None:
        super().__init__("no whole answer came in time")


class _Timely(httpx2.SyncByteStream):
    """Response stream that enforces the time limit of a check; read timeouts cannot stop a slow drip."""

    def __init__(self, stream: httpx2.SyncByteStream, seconds_left: Callable[[], float]) -> None:
        self._stream = stream
        self._seconds_left = seconds_left

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._seconds_left()
            yield piece

    def close(self) -> None:
        self._stream.close()


@dataclass
class ReceivedStream:
    """A streamed response: the JSON of its events, whether `[DONE]` came last, and its media type."""

    content_type: str
    chunks: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    def choices(self, index: int = 0) -> list[dict[str, Any]]:
        """Return the entries of one choice in all chunks."""
        return [choice for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == index]

    def text(self, index: int = 0) -> str:
        """Return the joined content of one choice, of a chat or of a legacy completion."""
        return "".join(
            choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in self.choices(index)
        )

    def finish_reasons(self, index: int = 0) -> list[str]:
        """Return every finish reason of one choice; there should be one."""
        return [choice["finish_reason"] for choice in self.choices(index) if choice.get("finish_reason")]

    def tool_calls(self) -> list[dict[str, Any]]:
        """Fold the deltas of the first choice into calls: an id, a name, and arguments that are joined."""
        calls: dict[int, dict[str, Any]] = {}
        for choice in self.choices():
            for delta in choice["delta"].get("tool_calls") or []:
                call = calls.setdefault(delta["index"], {"id": "", "name": "", "arguments": ""})
                function = delta.get("function") or {}
                call["id"] = delta.get("id") or call["id"]
                call["name"] = function.get("name") or call["name"]
                call["arguments"] += function.get("arguments") or ""
        return [calls[index] for index in sorted(calls)]


class ServerUnderTest:
    """Client of one model of the server. `asked` and `came` are the last request and its response.

    Requests are not retried. `limit` is the time limit in seconds of all requests since `begin`, and `always` are
    fields added to every chat request. Methods raise openai.APIError or httpx2.HTTPError for errors, and TooLate.
    """

    def __init__(
        self, base_url: str, api_key: str, model: str, limit: float, always: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self._always = always or {}
        self.limit = limit
        self.asked: Any = None
        self.came = ""
        self._end = monotonic() + limit
        hooks: Any = {"response": [self._bound]}
        self.client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key,
            timeout=limit,
            max_retries=0,
            default_headers=_ALONE,
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
        )
        self._base_url = base_url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}", **_ALONE}
        self._http = httpx2.Client(timeout=limit, headers=headers, event_hooks=hooks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._http.close()

    def begin(self) -> None:
        """Begin a new check: clear the last request and restart the time limit."""
        self.asked, self.came, self._end = None, "", monotonic() + self.limit

    @contextmanager
    def busy(self, count: int) -> Iterator[None]:
        """Run `count` concurrent requests during the block. Their results are ignored."""
        left = self._seconds_left()

        def chat(number: int) -> None:
            messages: Any = [{"role": "user", "content": f"This is number {number}. " * (4 + number)}]
            self.client.chat.completions.create(model=self.model, messages=messages, max_tokens=48, timeout=left)

        with ThreadPoolExecutor(count) as pool:
            for number in range(count):
                pool.submit(chat, number)
            yield

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Return the JSON response of a chat request without streaming."""
        return self._plain(self.client.chat.completions, self._chat(fields))

    def complete(self, **fields: Any) -> dict[str, Any]:
        """Return the JSON response of a legacy completion without streaming."""
        return self._plain(self.client.completions, self._completion(fields))

    def text(self, **fields: Any) -> str:
        """Return the content of the first choice of a chat request without streaming."""
        return str(self.ask(**fields)["choices"][0]["message"]["content"] or "")

    def stream(self, **fields: Any) -> ReceivedStream:
        """Return a streamed chat response, read to its end."""
        return self._stream(self.client.chat.completions, self._chat({"stream": True, **fields}))

    def models(self) -> list[str]:
        """Return the ids of the listed models. Raises ValueError for a response that is not a list of models."""
        response = self.raw("GET", "/models").raise_for_status()
        try:
            return [f"{_object(model)['id']}" for model in _object(response.json())["data"]]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ValueError(f"the server's response is not a list of models: {response.text[:80]!r}") from None

    def read_by_the_sdk(self, **fields: Any) -> list[ChatCompletionChunk]:
        """Return the chunks of a stream as the openai client itself reads them."""
        with self.client.chat.completions.create(**self._chat(fields), stream=True) as stream:
            chunks = [*stream]
        self.came = "\n".join(chunk.model_dump_json() for chunk in chunks)[-_SHOWN:]
        return chunks

    def stream_completion(self, **fields: Any) -> ReceivedStream:
        """Return a streamed legacy completion, read to its end."""
        return self._stream(self.client.completions, self._completion({"stream": True, **fields}))

    def rejection(self, **fields: Any) -> openai.APIStatusError | None:
        """Return the error of a chat request; None if it was not rejected."""
        try:
            self.ask(**fields)
        except openai.APIStatusError as error:
            self.came = error.response.text[:_SHOWN]
            return error
        return None

    def raw(self, method: str, path: str, body: str | None = None) -> httpx2.Response:
        """Return the response to a request that the openai client would not send. `path` is below the base URL."""
        self.asked, self.came = f"{method} {path} {body or ''}".strip(), ""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        response = self._http.request(
            method, self._base_url + path, content=body, headers=headers, timeout=self._seconds_left()
        )
        self.came = f"{response.status_code} {response.text}"[:_SHOWN]
        return response

    def _chat(self, fields: dict[str, Any]) -> dict[str, Any]:
        body = {"model": self.model, "messages": HELLO, **self._always, **fields}
        if "max_completion_tokens" not in body:
            body.setdefault("max_tokens", MAX_TOKENS)
        return self._arguments(body, "messages")

    def _completion(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._arguments({"model": self.model, "prompt": "Once", "max_tokens": MAX_TOKENS, **fields}, "prompt")

    def _arguments(self, body: dict[str, Any], what: str) -> dict[str, Any]:
        """Return the arguments of `create`; all but the required fields are passed on unchanged."""
        self.asked, self.came = body, ""
        set_by_us = ("model", what, "stream") if body.get("stream") else ("model", what)
        rest = {name: value for name, value in body.items() if name not in set_by_us}
        return {"model": body["model"], what: body[what], "extra_body": rest, "timeout": self._seconds_left()}

    def _bound(self, response: httpx2.Response) -> None:
        """Enforce the time limit of the check on a response, whichever client reads it."""
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Timely(response.stream, self._seconds_left)

    def _seconds_left(self) -> float:
        left = self._end - monotonic()
        if left <= 0:
            raise TooLate
        return left

    def _plain(self, resource: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        data = bytearray()
        with resource.with_streaming_response.create(**arguments) as response:
            for piece in response.iter_bytes():
                data += piece
                self.came = data[:_SHOWN].decode(errors="replace")
        return _object(_json(data))

    def _stream(self, resource: Any, arguments: dict[str, Any]) -> ReceivedStream:
        with resource.with_streaming_response.create(**arguments, stream=True) as response:
            stream = ReceivedStream(response.headers.get("content-type", ""))
            self._read(stream, response.iter_lines())
        return stream

    def _read(self, stream: ReceivedStream, lines: Iterable[str]) -> None:
        for number, line in enumerate(lines):
            self.came = (self.came + line + "\n")[-_SHOWN:]
            if number > _MOST_LINES:
                raise Endless
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                stream.done = True
            elif data:
                stream.done = False
                stream.chunks.append(_object(_json(data)))
        if not stream.chunks:
            raise ValueError("the stream had no event")


def _json(data: str | bytes | bytearray) -> Any:
    """Return the JSON of a response. Raises ValueError for invalid or too deeply nested JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        text = data if isinstance(data, str) else data.decode(errors="replace")
        raise ValueError(f"{text[:80]!r} is not JSON") from None


def _object(value: Any) -> dict[str, Any]:
    """Return a value if it is a JSON object. Raises TypeError for any other JSON."""
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object was promised, not {value!r:.80}")
    return value
