"""Temporary folder for file benchmarks: one large model, its manifest, and a clean home for each run."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Command, Run, run, started
from benchmarks.hub import REPO, LoopbackHub, loopback_hub
from localrouter.bench.scratch import bench_home
from localrouter.bench.servers.processes import Program

LOCAL, REMOTE = "File-Local", "File-Remote"


@dataclass(frozen=True)
class Workplace:
    """Folder with the inputs and outputs of benchmark runs."""

    folder: Path
    file: Path
    hub: LoopbackHub

    @property
    def manifest(self) -> Path:
        """Path of the manifest, which names the local file and the hub's, both pinned."""
        return self.folder / "manifest.toml"

    @property
    def bundle(self) -> Path:
        """Path of the bundle that is verified and imported."""
        return self.folder / "bundle.tar"

    @property
    def out(self) -> Path:
        """Path of the output file of a run."""
        return self.folder / "out.tar"

    @property
    def unpacked(self) -> Path:
        """Folder into which a run unpacks the bundle."""
        return self.folder / "unpacked"

    @property
    def home(self) -> Path:
        """Home folder with localrouter's data, configuration and caches."""
        return self.folder / "home"

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment of a run: a clean home, the hub of this run, and no settings of the user."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCALROUTER_", "HF_"))}
        homes = {f"XDG_{kind}_HOME": str(self.home / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE")}
        hub = {"HF_HOME": str(self.home / "hub"), "HF_ENDPOINT": self.hub.endpoint, "NO_PROXY": "127.0.0.1"}
        return kept | homes | hub

    @property
    def size(self) -> int:
        """Bytes of the file, its header included."""
        return self.file.stat().st_size

    @property
    def pull(self) -> Command:
        """Command that downloads the file from the hub."""
        return self.localrouter("pull", REMOTE, "--manifest", self.manifest)

    def localrouter(self, *arguments: str | Path) -> Command:
        """Return the command that runs localrouter as a user would."""
        return [sys.executable, "-m", "localrouter", *arguments]

    def arrived(self) -> int:
        """Return the bytes received by an unfinished pull."""
        partial = (self.home / "hub").glob("hub/*/blobs/*.localrouter-partial")
        return sum(file.stat().st_size for file in partial)

    def run(self, command: Command) -> Run:
        """Run a command here to its end. Raises ProgramFailed unless it succeeds."""
        return run(command, self.environment, self.folder)

    def started(self, command: Command) -> AbstractContextManager[Program]:
        """Run a command here while the block lasts."""
        return started(command, self.environment, self.folder)

    def clear(self) -> None:
        """Delete the outputs of earlier runs, and flush the disk, so that pending writes do not slow down the next."""
        for folder in (self.home, self.unpacked):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self.out.unlink(missing_ok=True)
        os.sync()


@contextmanager
def workplace(model: Path) -> Iterator[Workplace]:
    """Create a workplace for a cached model, on the same disk; it is deleted when the block ends."""
    with tempfile.TemporaryDirectory(dir=bench_home(), prefix="files-") as folder:
        file = Path(folder) / "data" / model.name
        file.parent.mkdir()
        file.hardlink_to(model)  # `tar` gets a folder that has this file alone
        with file.open("rb") as opened:  # also brings it into the page cache, where every run then finds it
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        with loopback_hub(file) as hub:
            place = Workplace(Path(folder), file, hub)
            place.manifest.write_text(_manifest(place, sha256), encoding="utf-8")
            place.clear()
            yield place


def _manifest(place: Workplace, sha256: str) -> str:
    pinned = f'size = {place.size}, sha256 = "{sha256}", license = "apache-2.0"'
    remote = f'repo = "{REPO}", file = "{place.file.name}", revision = "{place.hub.commit}"'
    return f"""version = 1
[models]
local.builds = [{{ name = "{LOCAL}", path = "data/{place.file.name}", {pinned} }}]
remote.builds = [{{ name = "{REMOTE}", {remote}, {pinned} }}]
"""
