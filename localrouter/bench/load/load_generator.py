"""Load generator: sends the conversations of a workload to a server and records the arrival time of every read.

On a small machine client and server share the CPU. So bytes are only stored while streams run, and are parsed as HTTP
afterwards: that costs a quarter of what a client library costs for each piece of text.
"""

import asyncio
import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from localrouter.bench.load.figures import LoadFigures
from localrouter.bench.load.recording import Recording
from localrouter.bench.workloads import Dialogue, Message
from localrouter.errors import ConfigError

TIMEOUT = 600.0
"""Seconds allowed for one response."""
NO_FIELDS: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Endpoint:
    """A model of a server on this machine. `base_url` ends in /v1. Raises ConfigError for another machine."""

    base_url: str
    model: str

    def __post_init__(self) -> None:
        require_loopback(self.base_url)


def require_loopback(url: str) -> None:
    """Raise ConfigError unless `url` is http on this machine: a benchmark must not load a server of another owner."""
    try:
        parsed = httpx2.URL(url)
        local = parsed.scheme == "http" and (
            parsed.host == "localhost" or ipaddress.ip_address(parsed.host).is_loopback
        )
    except (ValueError, httpx2.InvalidURL):
        local = False
    if not local:
        raise ConfigError(
            f"{url}: benchmarks only load servers of this machine", hint="pass a URL such as http://127.0.0.1:8080"
        )


def run(endpoint: Endpoint, conversations: list[Dialogue], fields: Mapping[str, Any] = NO_FIELDS) -> LoadFigures:
    """Run all conversations on the server and return their figures. `fields` are added to every request body."""
    return asyncio.run(hold_all(endpoint, conversations, fields))


async def hold_all(endpoint: Endpoint, conversations: list[Dialogue], fields: Mapping[str, Any]) -> LoadFigures:
    """Run all conversations on the server and return their figures; `run` for a running event loop."""
    start = time.perf_counter()
    held = await asyncio.gather(*(_hold(endpoint, conversation, fields, start) for conversation in conversations))
    wall = time.perf_counter() - start
    return LoadFigures.of([recording.stream() for recordings in held for recording in recordings], wall)


async def _hold(endpoint: Endpoint, conversation: Dialogue, fields: Mapping[str, Any], start: float) -> list[Recording]:
    """Run the turns of one conversation in order; a broken stream ends it. Returns a recording per turn."""
    await asyncio.sleep(max(0.0, start + conversation.at - time.perf_counter()))
    messages, recordings = conversation.opening(), list[Recording]()
    for number, turn in enumerate(conversation.turns):
        if recordings:
            answer = recordings[-1].stream()
            if answer.flaw is not None:
                break
            messages.append({"role": "assistant", "content": answer.text})
        messages.append({"role": "user", "content": turn})
        request = _body(endpoint.model, messages, conversation.max_tokens, fields)
        recordings.append(await _ask(endpoint, request, conversation.max_tokens, number))
    return recordings


def _body(model: str, messages: list[Message], max_tokens: int, fields: Mapping[str, Any]) -> bytes:
    asked = {"model": model, "messages": messages, "max_tokens": max_tokens}
    return json.dumps(asked | {"stream": True, "stream_options": {"include_usage": True}} | dict(fields)).encode()


async def _ask(endpoint: Endpoint, body: bytes, max_tokens: int, turn: int) -> Recording:
    url = httpx2.URL(f"{endpoint.base_url}/chat/completions")
    request = _request(url, body)
    recording = Recording(time.perf_counter(), max_tokens, turn)
    try:
        async with asyncio.timeout(TIMEOUT):
            await _exchange(url, request, recording)
    except OSError as error:  # a TimeoutError is one too
        recording.error = f"{type(error).__name__} {error}"
    return recording


async def _exchange(url: httpx2.URL, request: bytes, recording: Recording) -> None:
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(request)
        while received := await reader.read(1 << 16):
            recording.arrivals.append((time.perf_counter(), received))
    finally:
        writer.close()


def _request(url: httpx2.URL, body: bytes) -> bytes:
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
