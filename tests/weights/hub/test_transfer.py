"""A file on its way into the cache, and everything that may happen to it there."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Blob, HubServer
from transfer_bench import CONTENT, NAME, REPO, Bench, Seen

from localrouter.errors import HubError, HubUnreachable, TransferError
from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.hub.transfer import TransferOutcome


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with HubServer() as server:
        yield Bench(server, tmp_path / "cache")


@pytest.mark.parametrize("seed", range(10))
def test_cut_at_ten_random_places_no_byte_comes_twice(bench: Bench, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(10):
        bench.server.inject(cut_after=draw.randrange(len(CONTENT) // 10))
    seen = Seen()
    bench.transfer(seen).run()
    assert bench.is_whole()
    assert bench.server.served(NAME) == len(CONTENT)
    assert seen.done == sorted(seen.done)
    assert len(seen.said) == 10


def test_a_run_that_ended_is_gone_on_with(bench: Bench) -> None:
    def stop(done: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.transfer(Seen(stop)).run()
    arrived = bench.place.arrived()
    assert 100_000 < arrived < len(CONTENT)
    seen = Seen()
    bench.transfer(seen).run()
    assert bench.is_whole()
    assert seen.checked == arrived
    assert bench.server.requests[-1].headers["Range"] == f"bytes={arrived}-"
    assert bench.server.requests[-1].sent == len(CONTENT) - arrived


def test_a_partial_file_that_is_complete_needs_no_network(bench: Bench) -> None:
    bench.leave_partial(CONTENT)
    bench.transfer().run()
    assert bench.is_whole()
    assert bench.server.requests == []


def test_a_partial_file_that_is_too_long_is_begun_again(bench: Bench) -> None:
    bench.leave_partial(CONTENT + b"more")
    bench.transfer().run()
    assert bench.is_whole()


def test_a_server_without_ranges_sends_all_and_only_the_rest_is_taken(bench: Bench) -> None:
    bench.leave_partial(CONTENT[:100_000])
    bench.server.inject(ignore_range=True)
    seen = Seen()
    bench.transfer(seen).run()
    assert bench.is_whole()
    assert seen.done[0] == 100_000


def test_a_server_without_ranges_that_is_cut_still_gets_on(bench: Bench) -> None:
    for place in (100_000, 50_000, 200_000):
        bench.server.inject(cut_after=place, ignore_range=True)
    bench.server.inject(ignore_range=True)
    seen = Seen()
    bench.transfer(seen).run()
    assert bench.is_whole()
    assert seen.done == sorted(seen.done)


def test_a_refused_range_starts_over_once(bench: Bench) -> None:
    bench.leave_partial(CONTENT[:100_000])
    bench.server.inject(status=416)
    bench.transfer().run()
    assert bench.is_whole()


def test_a_file_that_is_shorter_than_announced(bench: Bench) -> None:
    bench.server.inject(shorter=200_000, times=99)
    with pytest.raises(HubError, match=r"ends at byte 200,000, and the pin says 300,000"):
        bench.transfer().run()
    assert not bench.place.pointer.exists()


def test_a_connection_that_never_brings_the_rest_ends(bench: Bench) -> None:
    bench.leave_partial(CONTENT[:200_000])
    bench.server.inject(cut_after=0, times=99)
    with pytest.raises(HubUnreachable, match=r"a\.gguf: the connection was lost, 9 times in a row"):
        bench.transfer().run()
    assert bench.place.arrived() == 200_000


def test_failures_before_the_first_byte_pass(bench: Bench) -> None:
    bench.server.inject(status=500, times=3)
    bench.server.inject(on="resolve", status=429, headers={"Retry-After": "1"}, times=2)
    bench.transfer().run()
    assert bench.is_whole()


def test_a_flipped_bit_is_refused_and_the_next_run_is_clean(bench: Bench) -> None:
    bench.server.inject(flip=123_456)
    with pytest.raises(TransferError, match=r"arrived damaged: its sha256 is .* it was deleted"):
        bench.transfer().run()
    assert not bench.place.pointer.exists()
    assert not bench.place.blob.exists()
    assert not bench.place.partial.exists()
    bench.transfer().run()
    assert bench.is_whole()


def test_a_partial_file_that_was_damaged_on_disk_is_noticed(bench: Bench) -> None:
    bench.leave_partial(b"x" + CONTENT[1:100_000])
    with pytest.raises(TransferError, match="arrived damaged"):
        bench.transfer().run()
    assert not bench.place.partial.exists()


def test_more_bytes_than_pinned_are_refused(bench: Bench) -> None:
    commit = bench.commit
    bench.server.repos[REPO].commits[commit] = {NAME: Blob(CONTENT + b"more")}
    with pytest.raises(TransferError, match="sent more than the 300,000 bytes"):
        bench.transfer().run()
    assert not bench.place.partial.exists()


def test_a_changed_file_is_noticed_before_a_byte_is_fetched(bench: Bench) -> None:
    bench.transfer().check()
    bench.server.repos[REPO].commits[bench.commit] = {NAME: Blob(bytes(300_000))}
    with pytest.raises(HubError, match="is not the pinned one") as caught:
        bench.transfer().check()
    assert "lock --check" in str(caught.value.hint)
    assert bench.server.served() == 0


def test_a_pin_brings_the_same_file_after_the_branch_has_moved(bench: Bench) -> None:
    bench.server.add(REPO, NAME, b"something new")
    transfer = bench.transfer()
    transfer.check()
    transfer.run()
    assert bench.is_whole()


def test_a_file_that_is_there_with_another_size_is_replaced(bench: Bench) -> None:
    bench.transfer().run()
    with bench.place.blob.open("r+b") as blob:
        blob.truncate(1000)
    assert bench.transfer().run() is TransferOutcome.DOWNLOADED
    assert bench.is_whole()


def test_the_same_bytes_at_another_commit_are_only_linked(bench: Bench) -> None:
    bench.transfer().run()
    later = bench.server.add(REPO, "b.gguf", b"b")
    place = bench.place_in(bench.place.cache, commit=later)
    assert bench.transfer(place=place).run() is TransferOutcome.PRESENT
    assert place.pointer.read_bytes() == CONTENT
    assert bench.server.served(NAME) == len(CONTENT)


def test_a_damaged_blob_is_not_linked(bench: Bench) -> None:
    bench.transfer().run()
    bench.place.pointer.unlink()
    bench.place.blob.write_bytes(bytes(len(CONTENT)))
    seen = Seen()
    assert bench.transfer(seen).run() is TransferOutcome.DOWNLOADED
    assert bench.is_whole()
    assert seen.said == ["the cached copy is damaged, downloading it again"]


@pytest.mark.parametrize("point", ["keep", "link"])
def test_killed_between_the_last_steps_the_next_run_finishes_without_a_download(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def killed(_: CachedFile) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CachedFile, point, killed)
        with pytest.raises(KeyboardInterrupt):
            bench.transfer().run()
    bench.transfer().run()
    assert bench.is_whole()
    assert bench.server.served(NAME) == len(CONTENT)


def test_where_locks_do_nothing_the_second_to_finish_is_content(bench: Bench) -> None:
    other: list[TransferOutcome] = []

    def overtake(done: int) -> None:
        if done == len(CONTENT) and not other:
            other.append(TransferOutcome.DOWNLOADED)
            bench.place.keep()  # what another process does that was never kept out

    assert bench.transfer(Seen(overtake)).run() is TransferOutcome.DOWNLOADED
    assert bench.is_whole()
