"""Compressed bodies: what is decompressed, up to which size, and how damage is reported."""

import asyncio
import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter.api.content_encoding import DECOMPRESSORS, PIECE, BodyDecoder
from localrouter.config import Settings

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = json.dumps(HELLO).encode()
LIMIT = 100_000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
EVERY = pytest.mark.parametrize("encoding", DECOMPRESSORS)


@pytest.fixture
async def client(router: FakeRouter) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(router, Settings(max_body=LIMIT))) as client:
        yield client


async def post(client: httpx.AsyncClient, encoding: str, content: bytes) -> tuple[int, str | None]:
    answer = await client.post(CHAT, content=content, headers={"content-encoding": encoding})
    return answer.status_code, answer.json()["error"]["code"] if answer.status_code >= 400 else None


def decoded(encoding: str, *parts: bytes) -> list[bytes]:
    decoder = BodyDecoder(encoding, DECOMPRESSORS[encoding])
    pieces = [piece for part in parts for piece in decoder.feed(part)]
    decoder.end()
    return pieces


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP", "deflate", "zstd"])
async def test_a_compressed_body_is_decompressed(client: httpx.AsyncClient, name: str) -> None:
    compress = COMPRESS[name.lower().removeprefix("x-")]
    assert await post(client, name, compress(BODY)) == (200, None)


@pytest.mark.parametrize("name", ["identity", "", " Identity "])
async def test_identity_is_no_encoding(client: httpx.AsyncClient, name: str) -> None:
    assert await post(client, name, BODY) == (200, None)


@pytest.mark.parametrize("name", ["br", "compress", "gzip, zstd", "gzip, gzip", "identity, gzip", "*", "x" * 10_000])
async def test_other_encodings_are_a_415_that_lists_the_supported_ones(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post(CHAT, content=gzip.compress(BODY), headers={"content-encoding": name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_content_encoding")
    assert "gzip, deflate, zstd" in answer.json()["error"]["message"]
    assert answer.headers["accept-encoding"] == "gzip, deflate, zstd"
    assert len(answer.content) < 500


async def test_encodings_in_two_headers_are_a_415(client: httpx.AsyncClient) -> None:
    twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    answer = await client.post(CHAT, content=gzip.compress(gzip.compress(BODY)), headers=twice)
    assert answer.status_code == 415


@EVERY
async def test_the_limit_counts_after_decompression(client: httpx.AsyncClient, encoding: str) -> None:
    compress = COMPRESS[encoding]
    assert await post(client, encoding, compress(BODY + b" " * (LIMIT - len(BODY)))) == (200, None)
    assert await post(client, encoding, compress(BODY + b" " * (LIMIT - len(BODY) + 1))) == (413, "request_too_large")


@EVERY
async def test_a_decompression_bomb_is_a_413_in_little_memory(client: httpx.AsyncClient, encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        assert await post(client, encoding, bomb) == (413, "request_too_large")
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@EVERY
async def test_a_bomb_of_empty_members_is_rejected(client: httpx.AsyncClient, encoding: str) -> None:
    bomb = COMPRESS[encoding](b"") * 2000
    assert await post(client, encoding, bomb) == (400, "invalid_content_encoding")


@EVERY
@pytest.mark.parametrize("damage", ["cut", "empty", "plain", "flipped", "garbage behind"])
async def test_damaged_data_is_a_400(client: httpx.AsyncClient, encoding: str, damage: str) -> None:
    good = COMPRESS[encoding](BODY)
    content = {
        "cut": good[:-1],
        "empty": b"",
        "plain": BODY,
        "flipped": good[:3] + bytes([good[3] ^ 0xFF]) + good[4:-4] + bytes(4),
        "garbage behind": good + b"garbage",
    }[damage]
    assert await post(client, encoding, content) == (400, "invalid_content_encoding")


async def test_a_large_window_of_zstd_is_rejected(client: httpx.AsyncClient) -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    content = compressor.compress(BODY) + compressor.flush()
    assert await post(client, "zstd", content) == (400, "invalid_content_encoding")


@EVERY
@given(content=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2100), max_size=5), members=st.integers(1, 3))
def test_parts_and_members_do_not_matter(encoding: str, content: bytes, cuts: list[int], members: int) -> None:
    whole = COMPRESS[encoding](content) * members
    at = sorted({0, *cuts, len(whole)})
    parts = [whole[begin:end] for begin, end in pairwise(at)]
    assert b"".join(decoded(encoding, *parts)) == content * members


@EVERY
@pytest.mark.parametrize("size", [0, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 17])
def test_pieces_are_limited_in_size_and_complete(encoding: str, size: int) -> None:
    pieces = decoded(encoding, COMPRESS[encoding](bytes(size)))
    assert max(map(len, pieces), default=0) <= PIECE
    assert b"".join(pieces) == bytes(size)


async def test_other_requests_run_while_a_large_body_is_decompressed(router: FakeRouter) -> None:
    padded = gzip.compress(BODY + b" " * 40 * PIECE)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with client_of(make_app(router, Settings(max_body=64 * PIECE))) as client:
        counting = asyncio.create_task(count_turns())
        assert await post(client, "gzip", padded) == (200, None)
        counting.cancel()
    assert turns > 40
