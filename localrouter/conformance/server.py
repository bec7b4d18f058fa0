"""The server that is checked: asked through the openai client, and where that is too well-behaved, over plain HTTP."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2
import openai

MAX_TOKENS = 32
"""The longest answer that is asked for, in tokens."""
_MOST_LINES = 5000
"""Lines after which a stream is taken for endless: far more than its tokens have."""
_SHOWN = 2000
"""Characters of an answer that are kept for the report."""
HELLO = [{"role": "user", "content": "Say something."}]


class Endless(Exception):
    """A stream went on far beyond what was asked for."""


@dataclass
class Stream:
    """A streamed answer: the JSON of its events, whether `[DONE]` came last, and its media type."""

    content_type: str
    chunks: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    def choices(self, index: int = 0) -> list[dict[str, Any]]:
        """Return what the chunks say of one choice."""
        return [choice for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == index]

    def text(self, index: int = 0) -> str:
        """Return the joined content of one choice."""
        return "".join(choice["delta"].get("content") or "" for choice in self.choices(index))

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


class Server:
    """Asks one model of a server. `asked` and `came` are always the last request and what was answered.

    Nothing is tried again, and `timeout` (seconds) bounds every wait. Methods raise openai.APIError where no good
    answer comes; httpx2.HTTPError is raised by `raw` alone.
    """

    def __init__(self, base_url: str, api_key: str, model: str, timeout: float) -> None:
        self.model = model
        self.asked: Any = None
        self.came = ""
        self.client = openai.OpenAI(base_url=base_url, api_key=api_key, timeout=timeout, max_retries=0)
        self._base_url = base_url.rstrip("/")
        self._http = httpx2.Client(timeout=timeout, headers={"Authorization": f"Bearer {api_key}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._http.close()

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Return the JSON of a plain answer."""
        create: Any = self.client.chat.completions.with_raw_response.create
        response = create(**self._request(fields))
        self.came = response.text[:_SHOWN]
        return _object(json.loads(response.text))

    def text(self, **fields: Any) -> str:
        """Return the content of the first choice of a plain answer."""
        return str(self.ask(**fields)["choices"][0]["message"]["content"] or "")

    def stream(self, **fields: Any) -> Stream:
        """Return a streamed answer, read to its end."""
        create: Any = self.client.chat.completions.with_streaming_response.create
        with create(**self._request({"stream": True, **fields}), stream=True) as response:
            stream = Stream(response.headers.get("content-type", ""))
            self._read(stream, response.iter_lines())
        return stream

    def status(self, **fields: Any) -> int:
        """Return the status that a plain request is answered with."""
        try:
            self.ask(**fields)
        except openai.APIStatusError as error:
            self.came = error.response.text[:_SHOWN]
            return error.status_code
        return 200

    def raw(self, method: str, path: str, body: str | None = None) -> httpx2.Response:
        """Return the answer to a request that the openai client would not send. `path` is below the base URL."""
        self.asked, self.came = f"{method} {path} {body or ''}".strip(), ""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        response = self._http.request(method, self._base_url + path, content=body, headers=headers)
        self.came = f"{response.status_code} {response.text}"[:_SHOWN]
        return response

    def _request(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return what `create` is called with: all but the required fields go through as they are."""
        body = {"model": self.model, "messages": HELLO, **fields}
        if "max_completion_tokens" not in body:
            body.setdefault("max_tokens", MAX_TOKENS // 2)
        self.asked, self.came = body, ""
        rest = {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}
        return {"model": body["model"], "messages": body["messages"], "extra_body": rest}

    def _read(self, stream: Stream, lines: Iterable[str]) -> None:
        for number, line in enumerate(lines):
            self.came = (self.came + line + "\n")[-_SHOWN:]
            if number > _MOST_LINES:
                raise Endless
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                stream.done = True
            elif data:
                stream.done = False
                stream.chunks.append(_object(json.loads(data)))


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object. Raises TypeError for any other JSON."""
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object was promised, not {value!r:.80}")
    return value
