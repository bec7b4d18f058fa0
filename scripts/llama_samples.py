"""Vocabularies and chat templates of real models, which the tests read: files of llama-cpp-python's source package.

They are not part of the repository. An environment for development has them below `share`, each with the SHA-256 that
`llama_samples.sha256` pins. `pinned` and `missing` are pure decisions, `unpack` writes; pip downloads the package.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from scripts.backend import Refused

PINS = Path(__file__).with_suffix(".sha256")
INSIDE = ("vendor", "llama.cpp", "models")
"""Folder of the files in the source package, below the folder with the package's name."""


def folder_of(environment: Path) -> Path:
    """Return the folder of the files in a virtual environment."""
    return environment / "share" / "llama.cpp"


def pinned(text: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a list as `sha256sum` writes it; lines that begin with # are comments."""
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {name.strip(): digest for digest, name in lines}


def missing(folder: Path, pins: Mapping[str, str]) -> list[str]:
    """Return the names of the files that are not in `folder` with the bytes that are pinned."""
    return [name for name, digest in pins.items() if not _is(folder / name, digest)]


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest


def unpack(package: Path, folder: Path, pins: Mapping[str, str]) -> None:
    """Write the pinned files of a source package into `folder`. Raises Refused when one is absent or differs."""
    left = dict(pins)
    with tarfile.open(package) as archive:
        for member in archive:
            name = _name(member.name)
            content = archive.extractfile(member) if name in left else None
            if content is None:
                continue
            data = content.read()
            if hashlib.sha256(data).hexdigest() != left.pop(name):
                raise Refused(f"{name} of {package.name} is not the file that {PINS.name} pins. {_AGAIN}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    if left:
        raise Refused(f"{package.name} lacks {', '.join(left)}, which {PINS.name} pins. {_AGAIN}")


_AGAIN = "If constraints.txt names another release than before, pin its files as the head of that list says"


def _name(member: str) -> str:
    """Return the path of a file of the archive below `INSIDE`, and an empty text for one that is elsewhere."""
    parts = PurePosixPath(member).parts[1:]
    return "/".join(parts[len(INSIDE) :]) if parts[: len(INSIDE)] == INSIDE else ""
