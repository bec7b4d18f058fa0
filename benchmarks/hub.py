"""Hub server of the tests in a process of its own on loopback: serves a file, counts bytes, and can pause."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localrouter.bench.servers.processes import ProgramFailed

TESTS = Path(__file__).resolve().parents[1] / "tests"
REPO = "bench/File-GGUF"
SERVER = f"""
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from hub_server import HubServer

with HubServer() as hub:
    file = Path(sys.argv[2])
    print(hub.endpoint, hub.add({REPO!r}, file.name, file), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "hold":
            hub.inject(on="storage", hold_after=int(words[1]))
        print(hub.served(file.name), flush=True)
"""
"""Program of the hub. It ends with its stdin, so it cannot outlive its parent; each line of stdin prints a count."""


@dataclass(frozen=True)
class LoopbackHub:
    """A running hub. `commit` is the commit that contains the file."""

    endpoint: str
    commit: str
    process: subprocess.Popen[str]

    def served(self) -> int:
        """Return the bytes of the file that were sent so far, to all clients."""
        return self._ask("count")

    def hold_after(self, size: int) -> None:
        """Pause the next response with the file after `size` bytes for half a minute."""
        self._ask(f"hold {size}")

    def _ask(self, words: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(words, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@contextmanager
def loopback_hub(file: Path) -> Iterator[LoopbackHub]:
    """Serve this file in the repository REPO while the block lasts. Raises ProgramFailed."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(TESTS), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C must not reach the hub
    ) as process:
        assert process.stdout is not None
        try:
            endpoint, _, commit = process.stdout.readline().strip().partition(" ")
            if not commit:
                raise ProgramFailed("the hub of the tests does not start")
            yield LoopbackHub(endpoint, commit, process)
        finally:
            process.kill()  # a paused response would keep it alive for half a minute
