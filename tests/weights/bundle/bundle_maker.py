"""A machine with models, one without, and tar files that nobody should believe."""

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gguf_bytes
import pytest
from hub_cache import FIRST, HubCache
from huggingface_hub import constants

from localrouter.weights.bundle.contents import choose, gather
from localrouter.weights.bundle.exporter import BundleContents, write_bundle
from localrouter.weights.bundle.import_target import Destination
from localrouter.weights.bundle.importer import ImportResult, import_bundle
from localrouter.weights.bundle.index import (
    BundledBuild,
    BundledFile,
    BundleIndex,
    BundleMember,
    PieceKind,
    render_index,
)
from localrouter.weights.bundle.reader import Bundle
from localrouter.weights.registry import Registry

REPO, FILE = "them/Big-GGUF", "Big-Q8_0.gguf"
BIG = gguf_bytes.SAMPLE + bytes(range(256)) * 40_000
GOOD = "weights/a.gguf"
"""The name of a member that nobody objects to."""
OWN = gguf_bytes.SAMPLE + b"own" * 5_000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Sender:
    """A machine that has `big` from the hub, pinned, and `own` from a path."""

    folder: Path
    manifest: Path
    cache: HubCache

    def contents(self, *names: str) -> BundleContents:
        registry = Registry.read(self.manifest)
        return gather(registry, choose(registry, names or ("big", "own")))

    def bundle(self, *names: str, out: str = "out.tar") -> Path:
        path = self.folder / out
        write_bundle(path, self.contents(*names))
        return path


def make_sender(folder: Path) -> Sender:
    """The caller points HF_HUB_CACHE of huggingface_hub to `folder / "hub"`."""
    cache = HubCache(folder / "hub")
    cache.add(REPO, FILE, BIG)
    (folder / "Own-Q8_0.gguf").write_bytes(OWN)
    (folder / "LICENSE").write_text("Do as you like.\n")
    manifest = folder / "model_manifest.toml"
    manifest.write_text(
        f"""version = 1
[[models.big.builds]]
name = "Big-Q8_0"
repo = "{REPO}"
file = "{FILE}"
revision = "{FIRST}"
size = {len(BIG)}
sha256 = "{sha(BIG)}"
license = "apache-2.0"
[[models.own.builds]]
name = "Own-Q8_0"
variant = "tuned"
path = "Own-Q8_0.gguf"
"""
    )
    return Sender(folder, manifest, cache)


def destination(folder: Path, *, wheels: Path | None = None) -> Destination:
    return Destination(folder / "hub", folder / "models", folder / "papers", wheels)


def bring(path: Path, where: Destination) -> ImportResult:
    with Bundle(path) as bundle:
        return import_bundle(bundle, where)


def check(path: Path) -> None:
    with Bundle(path) as bundle:
        bundle.check()


def index_of(*members: tuple[str, bytes]) -> bytes:
    """An index of weights that says the truth about these members."""
    files = tuple(
        BundledFile(name=f"{n}.gguf", size=len(data), sha256=sha(data)) for n, (_, data) in enumerate(members)
    )
    made = tuple(
        BundleMember(name=name, kind=PieceKind.WEIGHT, size=len(data), sha256=sha(data)) for name, data in members
    )
    builds = (BundledBuild(name="B", alias="b", source="path", files=files),)
    return render_index(BundleIndex(localrouter="1", builds=builds, members=made))


def info(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, len(data), link
    return made, data


def write_tar(path: Path, index: bytes, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar with this index in front, and then whatever is given."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for made, data in [info("bundle.json", index), *members]:
            tar.addfile(made, io.BytesIO(data))
    return path


@pytest.fixture
def sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "sender/hub"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "sender").mkdir()
    return make_sender(tmp_path / "sender")


@pytest.fixture
def receiver(tmp_path: Path) -> Path:
    return tmp_path / "receiver"
