"""Reading an exchange after the fact."""

import asyncio
import contextlib

import pytest

from localrouter.bench.load import load_generator
from localrouter.bench.load.figures import LoadFigures
from localrouter.bench.load.load_generator import Endpoint, require_loopback
from localrouter.bench.load.recording import Recording
from localrouter.bench.workloads import Dialogue
from localrouter.errors import ConfigError

BODY = (
    b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\n\n'
    b'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\n'
    b'data: {"choices": [], "usage": {"completion_tokens": 1}}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = HEAD + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"


def recording(*parts: bytes) -> Recording:
    return Recording(0.0, 1, arrivals=[(float(second), part) for second, part in enumerate(parts, 1)])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_answer_is_read_however_it_was_cut(size: int) -> None:
    stream = recording(*(ANSWER[start : start + size] for start in range(0, len(ANSWER), size))).stream()

    assert (stream.text, stream.flaw) == ("a", None)


def test_text_has_the_time_at_which_its_event_was_complete() -> None:
    inside = ANSWER.index(b'"content"')

    assert recording(ANSWER[:inside], ANSWER[inside:]).stream().times == [2.0]


def test_a_refusal_is_a_flaw_with_its_status() -> None:
    answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\ntoo\nmany!"

    assert recording(answer).stream().flaw == "status 429: too\nmany!"


def test_an_answer_that_is_cut_off_is_a_flaw() -> None:
    assert "truncated" in str(recording(ANSWER[:-7]).stream().flaw)
    assert "truncated" in str(recording().stream().flaw)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://localhost/v1"])
def test_servers_of_this_machine_are_loaded(url: str) -> None:
    require_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.0.7:8000/v1",
        "https://127.0.0.1/v1",
        "http://example.org/v1",
        "http://127.0.0.1.example.org",
        "127.0.0.1:80",
        "http://[::1",
    ],
)
def test_nobody_elses_server_is_loaded(url: str) -> None:
    with pytest.raises(ConfigError, match="only load servers of this machine"):
        Endpoint(url, "bench")


def test_conversations_are_held_with_a_server() -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        asked.append(await reader.readexactly(length))
        writer.write(ANSWER)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def hold() -> LoadFigures:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "bench")
            return await load_generator.hold_all(endpoint, [Dialogue(["one", "two"], 1, "be kind")], {"top_k": 0})

    figures = asyncio.run(hold())

    assert (figures.streams, figures.broken) == (2, 0)
    assert 0 < figures.ttft_later <= figures.ttft_max
    assert b'"top_k": 0' in asked[0]
    assert b'{"role": "assistant", "content": "a"}, {"role": "user", "content": "two"}' in asked[1]
