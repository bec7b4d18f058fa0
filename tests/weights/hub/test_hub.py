"""What the hub says, and every way in which it may not; against a server that speaks its protocol."""

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hub_server import HubServer
from huggingface_hub import constants

from localrouter.errors import HubError, HubGated, HubNotFound, HubUnreachable
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.manifest.pin import PinnedFile

REPO = "owner/name"
CONTENT = random.Random(3).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        server.add(REPO, "a.gguf", CONTENT)
        yield server


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def hub(server: HubServer, waited: list[float]) -> Hub:
    return Hub(server.endpoint, pause=waited.append)


@pytest.fixture
def commit(server: HubServer) -> str:
    return server.repos[REPO].refs["main"]


def test_a_branch_stands_for_a_commit(server: HubServer, hub: Hub, commit: str) -> None:
    other = server.add(REPO, "b.gguf", b"b", branch="other")
    assert hub.resolve(REPO).commit == commit
    assert hub.resolve(REPO, "other").commit == other
    assert hub.resolve(REPO, commit).commit == commit


def test_size_and_sha256_are_known_without_a_download(server: HubServer, hub: Hub, commit: str) -> None:
    assert hub.file(REPO, "a.gguf", commit) == PinnedFile("a.gguf", len(CONTENT), SHA256)
    assert server.served() == 0


@pytest.mark.parametrize("license_", ["apache-2.0", None])
def test_a_pin_has_everything(server: HubServer, hub: Hub, commit: str, license_: str | None) -> None:
    server.repos[REPO].license = license_
    pin = hub.pin(REPO, "a.gguf")
    assert (pin.repo, pin.commit, pin.license) == (REPO, commit, license_)
    assert pin.files == (PinnedFile("a.gguf", len(CONTENT), SHA256),)


def test_a_pin_has_all_parts_of_a_split_file(server: HubServer, hub: Hub) -> None:
    names = [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for name in names:
        server.add(REPO, name, name.encode())
    assert [file.name for file in hub.pin(REPO, names[0]).files] == names


def test_a_file_in_a_folder(server: HubServer, hub: Hub) -> None:
    commit = server.add(REPO, "Q4 K/a b.gguf", b"spaces")
    assert hub.file(REPO, "Q4 K/a b.gguf", commit).size == 6
    assert hub.read_range(REPO, "Q4 K/a b.gguf", commit, 0, 6) == b"spaces"


def test_a_file_without_a_sha256_cannot_be_pinned(server: HubServer, hub: Hub) -> None:
    commit = server.add(REPO, "small.gguf", b"in git itself", lfs=False)
    with pytest.raises(HubError, match="reports no size and sha256"):
        hub.file(REPO, "small.gguf", commit)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (100_000, 200_000), (299_990, 300_010), (5, 5), (400_000, 400_010)]
)
def test_reads_a_range(server: HubServer, hub: Hub, commit: str, start: int, stop: int) -> None:
    assert hub.read_range(REPO, "a.gguf", commit, start, stop) == CONTENT[start:stop]
    assert server.served() == len(CONTENT[start:stop])


def test_reads_a_range_of_a_server_without_ranges(server: HubServer, hub: Hub, commit: str) -> None:
    server.inject(ignore_range=True)
    assert hub.read_range(REPO, "a.gguf", commit, 1000, 2000) == CONTENT[1000:2000]


def test_reads_a_range_in_spite_of_a_cut(server: HubServer, hub: Hub, commit: str, waited: list[float]) -> None:
    server.inject(cut_after=10)
    assert hub.read_range(REPO, "a.gguf", commit, 1000, 2000) == CONTENT[1000:2000]
    assert waited == [0.5]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_three_failures_then_fine(server: HubServer, hub: Hub, commit: str, waited: list[float], status: int) -> None:
    server.inject(on="resolve", status=status, times=3)
    assert hub.file(REPO, "a.gguf", commit).size == len(CONTENT)
    assert waited == [0.5, 1, 2]


def test_a_hub_that_only_fails_is_unreachable(server: HubServer, hub: Hub) -> None:
    server.inject(on="api", status=503, times=99)
    with pytest.raises(
        HubUnreachable, match=rf"^{REPO}: the hub responded with status 503 Service Unavailable, 5 times in a row$"
    ):
        hub.resolve(REPO)
    assert server.asked("api") == 5


def test_too_many_requests_waits_as_told(server: HubServer, hub: Hub, waited: list[float]) -> None:
    server.inject(on="api", status=429, headers={"Retry-After": "7"}, times=2)
    hub.resolve(REPO)
    assert waited == [7, 7]


def test_retry_after_may_be_a_date(server: HubServer, hub: Hub, waited: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.inject(on="api", status=429, headers={"Retry-After": later})
    hub.resolve(REPO)
    assert 50 < waited[0] <= 60


def test_too_many_requests_for_too_long_ends(server: HubServer, hub: Hub, waited: list[float]) -> None:
    server.inject(on="api", status=429, headers={"Retry-After": "3000"})
    with pytest.raises(HubUnreachable, match="429") as caught:
        hub.resolve(REPO)
    assert "50 minutes" in str(caught.value.hint)
    assert waited == []


def test_a_gated_repository_names_the_page_and_the_token(server: HubServer, hub: Hub, commit: str) -> None:
    server.repos[REPO].closed = "hf_right"
    with pytest.raises(HubGated, match="gated") as caught:
        hub.file(REPO, "a.gguf", commit)
    assert f"{server.endpoint}/{REPO}" in str(caught.value.hint)
    assert "HF_TOKEN" in str(caught.value.hint)


def test_a_token_without_access_is_told_apart(server: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server.repos[REPO].closed = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(HubGated, match="the account of your token has no access"):
        Hub(server.endpoint).file(REPO, "a.gguf", commit)


def test_the_token_opens_a_gated_repository_and_stays_on_the_hub(
    server: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.repos[REPO].closed = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert Hub(server.endpoint).read_range(REPO, "a.gguf", commit, 0, 9) == CONTENT[:9]
    assert ["Authorization" in {name.title() for name in each.headers} for each in server.requests] == [True, False]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_accepted(server: HubServer, hub: Hub, commit: str, status: int) -> None:
    server.inject(on="resolve", status=status)
    with pytest.raises(HubGated, match=f"rejects .* with status {status}") as caught:
        hub.file(REPO, "a.gguf", commit)
    assert "HF_TOKEN" in str(caught.value.hint)


def test_no_such_repository(hub: Hub) -> None:
    with pytest.raises(HubNotFound, match="no repository owner/other, or it is private"):
        hub.resolve("owner/other")


def test_a_repository_that_no_hub_can_have(hub: Hub) -> None:
    with pytest.raises(HubNotFound, match="is not a valid repository name"):
        hub.resolve("owner/a--b")


def test_no_such_revision(hub: Hub) -> None:
    with pytest.raises(HubNotFound, match="has no revision nowhere"):
        hub.resolve(REPO, "nowhere")
    with pytest.raises(HubNotFound, match="has no revision ffff"):
        hub.file(REPO, "a.gguf", "f" * 40)


def test_no_such_file(server: HubServer, hub: Hub, commit: str) -> None:
    with pytest.raises(HubNotFound, match=rf"no {REPO}/b\.gguf at {commit}") as caught:
        hub.file(REPO, "b.gguf", commit)
    assert f"{server.endpoint}/{REPO}/tree/{commit}" in str(caught.value.hint)


def test_an_address_that_has_expired_is_asked_for_again(server: HubServer, hub: Hub, commit: str) -> None:
    server.inject(on="storage", status=403)
    assert hub.read_range(REPO, "a.gguf", commit, 0, 9) == CONTENT[:9]
    assert server.asked("resolve") == 2


def test_an_answer_that_makes_no_sense(server: HubServer, hub: Hub, commit: str) -> None:
    server.inject(on="resolve", status=418)
    with pytest.raises(HubError, match="418"):
        hub.file(REPO, "a.gguf", commit)


def test_no_one_there(waited: list[float]) -> None:
    with HubServer() as gone:
        endpoint = gone.endpoint
    with pytest.raises(HubUnreachable, match=f"cannot connect to {endpoint}"):
        Hub(endpoint, pause=waited.append).resolve(REPO)


def test_offline_opens_no_connection(server: HubServer, commit: str) -> None:
    offline = Hub(server.endpoint, offline=True)
    for ask in (
        lambda: offline.resolve(REPO),
        lambda: offline.file(REPO, "a.gguf", commit),
        lambda: offline.read_range(REPO, "a.gguf", commit, 0, 1),
    ):
        with pytest.raises(HubUnreachable, match="offline"):
            ask()
    assert server.requests == []


def test_the_library_s_own_switch_counts(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="offline"):
        Hub(server.endpoint).resolve(REPO)
    assert server.requests == []
