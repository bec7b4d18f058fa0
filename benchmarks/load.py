"""The client: sends the conversations of a workload to a server and notes when what came.

Bytes are only kept while streams run, and read afterwards: on a small machine the client takes its CPU from the server.
"""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.figures import Figures, Stream
from benchmarks.workloads import Conversation, Message

TIMEOUT = httpx.Timeout(600, connect=10)


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
    return asyncio.run(_run(endpoint, conversations))


async def _run(endpoint: Endpoint, conversations: list[Conversation]) -> Figures:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
        start = time.perf_counter()
        held = await asyncio.gather(*(_hold(client, endpoint, one, start) for one in conversations))
        wall = time.perf_counter() - start
    return Figures.of([stream for streams in held for stream in streams], wall)


async def _hold(
    client: httpx.AsyncClient, endpoint: Endpoint, conversation: Conversation, start: float
) -> list[Stream]:
    """Ask turn after turn; a broken stream ends the conversation."""
    await asyncio.sleep(max(0.0, start + conversation.at - time.perf_counter()))
    messages, streams = conversation.opening(), list[Stream]()
    for turn in conversation.turns:
        messages.append({"role": "user", "content": turn})
        stream = await _ask(client, endpoint, messages, conversation.max_tokens)
        streams.append(stream)
        if stream.flaw is not None:
            break
        messages.append({"role": "assistant", "content": stream.text})
    return streams


async def _ask(client: httpx.AsyncClient, endpoint: Endpoint, messages: list[Message], max_tokens: int) -> Stream:
    body = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **endpoint.extra,
    }
    began, arrivals = time.perf_counter(), list[tuple[float, bytes]]()
    try:
        async with client.stream("POST", f"{endpoint.base_url}/chat/completions", json=body) as response:
            async for received in response.aiter_raw():
                arrivals.append((time.perf_counter(), received))
    except httpx.HTTPError as error:
        return Stream(began, max_tokens, error=f"{type(error).__name__}: {error}")
    if response.status_code != httpx.codes.OK:
        answer = b"".join(received for _, received in arrivals).decode(errors="replace")
        return Stream(began, max_tokens, error=f"status {response.status_code}: {answer[:300]}")
    return Stream.parse(began, max_tokens, arrivals)
