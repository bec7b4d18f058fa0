"""llama.cpp's own programs, built from the sources of the installed llama-cpp-python."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import localrouter
from localrouter.bench.environment import cpu_facts
from localrouter.bench.run_progress import RunProgress
from localrouter.bench.scratch import cache_home
from localrouter.bench.servers.processes import ProgramFailed
from localrouter.errors import ConfigError

PROGRAMS = ("llama-server", "llama-bench", "llama-batched-bench")
DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
TILE_FLAGS = "-DCMAKE_CXX_FLAGS=-fno-tree-dse -fno-dse"
"""Flags that keep GCC from breaking the AMX kernels; scripts/llama.cmake explains why, for localrouter's own build."""
_LAST_WORDS = 2000


class PeerMissing(ConfigError):
    """llama.cpp's programs are missing, or cannot be built."""


@dataclass(frozen=True)
class Peer:
    """llama.cpp's programs in one folder. `repack`: whether they can repack weights for kernels of this CPU."""

    folder: Path
    repack: bool

    def program(self, name: str) -> Path:
        """Return the path of one of PROGRAMS."""
        return self.folder / name

    def generation_rate(self, model: Path, tokens: int) -> float:
        """Return llama-bench's throughput of one sequence in tokens per second, with its best number of threads."""
        threads = ",".join(str(count) for count in thread_counts(os.cpu_count() or 1))
        rows = self._rows(
            "llama-bench",
            *("-m", model, "-p", "0", "-n", str(tokens), "-r", "1", "-t", threads, "-o", "jsonl"),
            *([] if self.repack else ["--repack", "0"]),
        )
        return max(float(row["avg_ts"]) for row in rows)

    def batched_rate(self, model: Path, sequences: int, tokens: int) -> float:
        """Return llama-batched-bench's throughput of all sequences together in tokens per second."""
        cells = 256 + sequences * (tokens + 16)
        rows = self._rows(
            "llama-batched-bench",
            *("-m", model, "-c", str(cells), "-npp", "16", "-ntg", str(tokens), "-npl", str(sequences)),
            *("--kv-unified", "--output-format", "jsonl"),
            *([] if self.repack else ["--no-repack"]),
        )
        return float(rows[-1]["speed_tg"])

    def _rows(self, program: str, *arguments: str | Path) -> list[dict[str, Any]]:
        ran = subprocess.run([self.program(program), *arguments], capture_output=True, text=True, check=False)
        rows = json_lines(ran.stdout)
        if ran.returncode or not rows:
            raise ProgramFailed(f"{program} ended with status {ran.returncode}:\n{ran.stderr[-_LAST_WORDS:]}")
        return rows


def json_lines(output: str) -> list[dict[str, Any]]:
    """Return the objects among the lines of a program's output."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def thread_counts(cores: int) -> list[int]:
    """Return the numbers of threads to try: powers of two up to `cores`, and `cores`."""
    return sorted({cores, *(1 << power for power in range(cores.bit_length()) if 1 << power <= cores)})


def repack_works(folder: Path, facts: str) -> bool:
    """Whether these programs can repack weights on the CPU that `facts`, the text of /proc/cpuinfo, describe.

    On a CPU with AMX this is tested: AMX kernels built by GCC without `TILE_FLAGS` crash at the first prompt.
    """
    if "amx_int8" not in facts:
        return True
    command: list[str | Path] = [folder / "llama-bench", "-m", DEMO, "-p", "64", "-n", "0", "-r", "1", "-t", "1"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def find_peer(folder: Path) -> Peer:
    """Return llama.cpp's programs in `folder`. Raises PeerMissing when one is not there."""
    missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise PeerMissing(f"{folder}: {', '.join(missing)} is not there", hint="--build-peer builds all of them")
    return Peer(folder.resolve(), repack_works(folder, cpu_facts()))


def built_folder() -> Path:
    """Return the folder of the programs that `build_peer` builds."""
    return _home() / "build" / "bin"


def build_peer(progress: RunProgress, *, offline: bool = False) -> Peer:
    """Build llama.cpp's programs unless they exist; takes many minutes. Raises PeerMissing.

    The sources are downloaded the first time, which `offline` forbids.
    """
    if not all(os.access(built_folder() / name, os.X_OK) for name in PROGRAMS):
        sources = _home() / "llama.cpp"
        if offline and not sources.exists():
            raise PeerMissing("the sources of llama.cpp are missing", hint="download them once, without --offline")
        if not shutil.which("cmake"):
            raise PeerMissing("building needs cmake and a C++ compiler", hint="install them, or pass --peer-bin DIR")
        _home().mkdir(parents=True, exist_ok=True)
        if not sources.exists():
            progress.say("downloading the sources of llama.cpp, 70 MB")
            _download(sources)
        progress.say(f"building {', '.join(PROGRAMS)} in {_home()}, which takes some minutes")
        _compile(sources)
    return find_peer(built_folder())


def _home() -> Path:
    return cache_home() / "peer" / version("llama-cpp-python")


def _download(sources: Path) -> None:
    """Download llama-cpp-python's source package and extract llama.cpp's sources from it."""
    wanted = f"llama-cpp-python=={version('llama-cpp-python')}"
    with tempfile.TemporaryDirectory(dir=sources.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        _run([*pip, "--no-binary", "llama-cpp-python", "--dest", folder, wanted])
        [package] = Path(folder).glob("*.tar.gz")
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
        [unpacked] = Path(folder).glob("*/vendor/llama.cpp")
        unpacked.rename(sources)


def _compile(sources: Path) -> None:
    build = _home() / "build"
    options = ["BUILD_TYPE=Release"], ["TESTS=OFF", "EXAMPLES=OFF", "OPENSSL=OFF"]
    definitions = [f"-DCMAKE_{option}" for option in options[0]] + [f"-DLLAMA_{option}" for option in options[1]]
    _run(["cmake", "-S", sources, "-B", build, TILE_FLAGS, *definitions])
    _run(["cmake", "--build", build, "-j", str(os.cpu_count() or 1), "--target", *PROGRAMS])


def _run(command: list[str | Path]) -> None:
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode:
        raise PeerMissing(f"`{' '.join(map(str, command))}` failed:\n{ran.stdout[-_LAST_WORDS:]}")
