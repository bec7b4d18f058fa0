import random
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import constants

from localrouter.errors import HubError, HubNotFound, HubUnreachable, TransferError
from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.hub.download import Download, DownloadStop, Stopped, require_room
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.hub.transfer import TransferOutcome
from localrouter.weights.manifest.pin import Pin, PinnedFile

REPO = "owner/name"
PARTS = {f"big-0000{number}-of-00003.gguf": random.Random(number).randbytes(100_000) for number in (1, 2, 3)}
Usage = namedtuple("Usage", "total used free")


class Silent:
    def __init__(self) -> None:
        self.files: set[str] = set()

    def at(self, file: PinnedFile, done: int) -> None:
        self.files.add(file.name)

    def checking(self, file: PinnedFile, done: int) -> None: ...

    def tell(self, file: PinnedFile, message: str) -> None: ...


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        for name, content in PARTS.items():
            server.add(REPO, name, content)
        yield server


@pytest.fixture
def pin(server: HubServer) -> Pin:
    return Hub(server.endpoint).pin(REPO, next(iter(PARTS)))


def download(server: HubServer, cache: Path, *, offline: bool = False, stop: DownloadStop | None = None) -> Download:
    stop = stop or DownloadStop()
    return Download(Hub(server.endpoint, offline=offline, pause=stop.pause), cache, Silent(), stop)


def test_brings_all_parts_in_their_order(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    [files] = download(server, tmp_path).run([pin])
    assert [each.file.name for each in files] == list(PARTS)
    assert [each.path.read_bytes() for each in files] == list(PARTS.values())
    assert {each.outcome for each in files} == {TransferOutcome.DOWNLOADED}


def test_what_is_there_is_not_asked_for(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    download(server, tmp_path).run([pin])
    before = len(server.requests)
    [files] = download(server, tmp_path).run([pin])
    assert {each.outcome for each in files} == {TransferOutcome.PRESENT}
    assert len(server.requests) == before


def test_several_come_at_the_same_time(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    first = next(iter(PARTS))
    fault = server.inject(file=first, hold_after=50_000)
    others = iter(PARTS)

    class Watching(Silent):
        def at(self, file: PinnedFile, done: int) -> None:
            super().at(file, done)
            if self.files >= PARTS.keys():  # the first one is held, and the others have come to something
                server.release.set()

    watch = Watching()
    Download(Hub(server.endpoint), tmp_path, watch, DownloadStop()).run([pin])
    assert fault.times == 0
    assert watch.files == set(others)


def test_a_file_that_two_builds_share_comes_once(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    one, two = download(server, tmp_path).run([pin, pin])
    assert one == two
    assert server.served() == sum(map(len, PARTS.values()))


def test_nothing_is_fetched_when_one_file_cannot_be_had(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    missing = Pin(REPO, pin.commit, (PinnedFile("other.gguf", 5, "0" * 64),))
    with pytest.raises(HubNotFound, match=r"other\.gguf"):
        download(server, tmp_path).run([pin, missing])
    assert server.served() == 0


def test_a_file_that_only_xet_brings_is_refused_with_the_command_that_speaks_it(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 50_000)
    server.add(REPO, "huge.gguf", bytes(50_001), xet=True)
    pin = Hub(server.endpoint).pin(REPO, "huge.gguf")
    with pytest.raises(HubError, match=r"huge\.gguf has 50,001 bytes: files of more than 50,000 come") as caught:
        download(server, tmp_path).run([pin])
    assert f"hf download {REPO} huge.gguf --revision {pin.commit}; then: localrouter verify" in str(caught.value.hint)
    assert server.served() == 0


def test_a_large_file_that_is_here_already_is_content_without_xet(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(REPO, "huge.gguf", bytes(50_001), xet=True)
    pin = Hub(server.endpoint).pin(REPO, "huge.gguf")
    download(server, tmp_path).run([pin])  # at this size it comes by HTTP, from the same storage
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 50_000)
    [[brought]] = download(server, tmp_path).run([pin])
    assert brought.outcome is TransferOutcome.PRESENT


def test_a_large_file_of_a_hub_without_xet_comes_by_http(
    server: HubServer, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", 50_000)
    [files] = download(server, tmp_path).run([pin])
    assert {each.outcome for each in files} == {TransferOutcome.DOWNLOADED}


def test_the_first_failure_ends_the_others_and_is_told(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    names = list(PARTS)
    server.inject(file=names[0], flip=5)
    server.inject(file=names[1], status=500, times=99)  # this one would go on trying for two minutes
    stop = DownloadStop()
    with pytest.raises(TransferError, match="arrived damaged"):
        download(server, tmp_path, stop=stop).run([pin])
    with pytest.raises(Stopped):
        stop.check()


def test_a_transfer_whose_bytes_still_come_ends_when_another_one_fails(
    server: HubServer, pin: Pin, tmp_path: Path
) -> None:
    bad, good, _ = PARTS
    server.inject(file=bad, flip=5)
    server.inject(file=good, hold_after=50_000)

    class Releasing(DownloadStop):
        def set(self) -> None:
            super().set()
            server.release.set()

    class Patient(Silent):
        def at(self, file: PinnedFile, done: int) -> None:
            if file.name == bad:
                server.held.wait(30)  # the other one is in the middle of its bytes

    stop = Releasing()
    with pytest.raises(TransferError, match="arrived damaged"):
        Download(Hub(server.endpoint, pause=stop.pause), tmp_path, Patient(), stop).run([pin])
    assert not CachedFile(tmp_path, REPO, pin.commit, pin.files[1]).is_present()


def test_a_stopped_download_pauses_no_longer() -> None:
    stop = DownloadStop()
    stop.set()
    with pytest.raises(Stopped):
        stop.pause(60)


def test_room_is_looked_for_before_a_byte_is_fetched(
    server: HubServer, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 250_000))
    with pytest.raises(TransferError, match="300,000 bytes are to be downloaded and 250,000 are free") as caught:
        download(server, tmp_path / "not" / "there" / "yet").run([pin])
    assert "free 50,000 bytes more" in str(caught.value.hint)
    assert server.served() == 0


def test_what_has_arrived_needs_no_room(
    server: HubServer, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 0, 250_000))
    place = CachedFile(tmp_path, REPO, pin.commit, pin.files[0])
    place.prepare()
    place.partial.write_bytes(PARTS[pin.files[0].name][:60_000])
    download(server, tmp_path).run([pin])
    assert place.is_present()


def test_room_of_a_relative_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_room(Path("nowhere"), 1)


def test_offline_says_what_is_lacking_and_how_to_bring_it(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    before = len(server.requests)
    with pytest.raises(HubUnreachable, match=r"offline: big-00001.*big-00003") as caught:
        download(server, tmp_path, offline=True).run([pin])
    assert "localrouter bundle import" in str(caught.value.hint)
    assert len(server.requests) == before


def test_offline_is_enough_for_what_is_there(server: HubServer, pin: Pin, tmp_path: Path) -> None:
    download(server, tmp_path).run([pin])
    [files] = download(server, tmp_path, offline=True).run([pin])
    assert {each.outcome for each in files} == {TransferOutcome.PRESENT}
