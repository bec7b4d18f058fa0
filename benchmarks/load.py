"""The client: sends the conversations of a workload to a server and notes when what came.

On a small machine the client takes its CPU from the server. So bytes are only kept while streams run, and are read as
HTTP afterwards: that costs a quarter of what a client library does for each piece of text.
"""

import asyncio
import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.figures import Figures
from benchmarks.recording import Recording
from benchmarks.workloads import Conversation, Message

TIMEOUT = 600.0


class NotLoopback(Exception):
    """Another machine would be loaded; that is for its owner to decide."""


@dataclass(frozen=True)
class Endpoint:
    """A server on this machine. `extra` goes into every request body."""

    base_url: str
    model: str
    extra: Mapping[str, Any]

    def __post_init__(self) -> None:
        require_loopback(self.base_url)


def require_loopback(url: str) -> None:
    """Raise NotLoopback unless `url` is http on this machine."""
    parsed = httpx.URL(url)
    try:
        local = parsed.host == "localhost" or ipaddress.ip_address(parsed.host).is_loopback
    except ValueError:
        local = False
    if parsed.scheme != "http" or not local:
        raise NotLoopback(f"{url}: benchmarks only load servers of this machine, http://127.0.0.1:...")


def run(endpoint: Endpoint, conversations: list[Conversation]) -> Figures:
    """Hold all conversations with the server and return how it went."""
    return asyncio.run(hold_all(endpoint, conversations))


async def hold_all(endpoint: Endpoint, conversations: list[Conversation]) -> Figures:
    """Do what `run` does, in a running loop."""
    start = time.perf_counter()
    held = await asyncio.gather(*(_hold(endpoint, conversation, start) for conversation in conversations))
    wall = time.perf_counter() - start
    return Figures.of([recording.stream() for recordings in held for recording in recordings], wall)


async def _hold(endpoint: Endpoint, conversation: Conversation, start: float) -> list[Recording]:
    """Ask turn after turn; a broken stream ends the conversation."""
    await asyncio.sleep(max(0.0, start + conversation.at - time.perf_counter()))
    messages, recordings = conversation.opening(), list[Recording]()
    for turn in conversation.turns:
        if recordings:
            answer = recordings[-1].stream()
            if answer.flaw is not None:
                break
            messages.append({"role": "assistant", "content": answer.text})
        messages.append({"role": "user", "content": turn})
        recordings.append(await _ask(endpoint, messages, conversation.max_tokens))
    return recordings


async def _ask(endpoint: Endpoint, messages: list[Message], max_tokens: int) -> Recording:
    body = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **endpoint.extra,
    }
    url = httpx.URL(f"{endpoint.base_url}/chat/completions")
    request = _request(url, json.dumps(body).encode())
    recording = Recording(time.perf_counter(), max_tokens)
    try:
        async with asyncio.timeout(TIMEOUT):
            await _exchange(url, request, recording)
    except OSError as error:  # a TimeoutError is one too
        recording.error = f"{type(error).__name__} {error}"
    return recording


async def _exchange(url: httpx.URL, request: bytes, recording: Recording) -> None:
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(request)
        while received := await reader.read(1 << 16):
            recording.arrivals.append((time.perf_counter(), received))
    finally:
        writer.close()


def _request(url: httpx.URL, body: bytes) -> bytes:
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
