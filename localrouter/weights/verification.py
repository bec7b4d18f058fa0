"""Verification of the files of a build: size, header, tensor offsets, sha256."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localrouter.gguf.header import GgufError, GgufHeader, read_header
from localrouter.weights.addition import add_again
from localrouter.weights.build_location import Damaged, Missing
from localrouter.weights.hashed_copy import CutShort, Report, hashed, silent
from localrouter.weights.registry import RegistryEntry

_ABSENT = "it is missing"


@dataclass(frozen=True)
class ExpectedFile:
    """One file of a build with its expected size and sha256, None where not known. `part` counts from 1."""

    path: Path
    size: int | None = None
    sha256: str | None = None
    part: int = 1
    parts: int = 1


@dataclass(frozen=True)
class FileVerdict:
    """Result of verifying one file. `sha256` is its digest; None if it was not computed."""

    path: Path
    size: int
    sha256: str | None
    flaws: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether no flaw was found."""
        return not self.flaws


@dataclass(frozen=True)
class BuildVerdict:
    """Result of verifying a build."""

    entry: RegistryEntry
    files: tuple[FileVerdict, ...]
    flaws: tuple[str, ...] = ()
    """Flaws of all parts of a split build together."""

    @property
    def good(self) -> bool:
        """Whether no flaw was found in the build and its files."""
        return not self.flaws and all(file.good for file in self.files)

    @property
    def hashed(self) -> bool:
        """Whether every file was compared with a digest."""
        return all(file.sha256 is not None for file in self.files)

    @property
    def remedy(self) -> str:
        """Remedy for a bad build, a command or an instruction."""
        build, name = self.entry.build, self.entry.name
        absent = [file.path.name for file in self.files if file.flaws == (_ABSENT,)]
        only_absent = len(absent) == sum(not file.good for file in self.files)
        match build.source:
            case "hub" if absent and only_absent:
                return f"localrouter pull {name}"
            case "hub":
                return f"localrouter remove {name} && localrouter pull {name}"
            case "asset":
                return "install localrouter again"
        if absent:
            return f"put {', '.join(absent)} into the folder of the other parts"
        return f"restore the file that was added, or accept the current one with: {add_again(self.entry)}"


def expected_files(entry: RegistryEntry) -> tuple[ExpectedFile, ...]:
    """Return the files of a build on this machine with sizes and digests of pin or manifest; empty if it is missing."""
    location = entry.locate()
    first = location.first if isinstance(location, Missing) else location.path
    if not first:
        return ()
    paths = entry.files(first)
    known = zip(paths, entry.sizes(len(paths)), entry.digests(len(paths)), strict=True)
    return tuple(
        ExpectedFile(path, size, sha256, number, len(paths)) for number, (path, size, sha256) in enumerate(known, 1)
    )


def verify(entry: RegistryEntry, files: Iterable[ExpectedFile], report: Report = silent) -> BuildVerdict:
    """Verify the files of a build. `report` is called with bytes read."""
    verdicts = tuple(verify_file(file, report) for file in files)
    location = entry.locate()
    if all(verdict.good for verdict in verdicts) and isinstance(location, Damaged):
        together = f"all parts together have {location.size:,} bytes instead of {location.expected:,}"
        return BuildVerdict(entry, verdicts, (together,))
    return BuildVerdict(entry, verdicts)


def verify_file(expected: ExpectedFile, report: Report = silent) -> FileVerdict:
    """Verify one file; size and header first, and the digest only if these are right."""
    try:
        size = expected.path.stat().st_size
        flaws = tuple(_flaws(expected, size))
        if flaws or expected.sha256 is None:
            return FileVerdict(expected.path, size, None, flaws)
        with expected.path.open("rb", buffering=0) as file:
            digest = hashed(file, size, report)
    except FileNotFoundError:
        return FileVerdict(expected.path, 0, None, (_ABSENT,))
    except OSError as error:
        return FileVerdict(expected.path, 0, None, (f"it cannot be read: {error.strerror}",))
    except CutShort:
        return FileVerdict(expected.path, size, None, ("it was truncated while it was read",))
    if digest != expected.sha256:
        return FileVerdict(expected.path, size, digest, (f"its sha256 is {digest} instead of {expected.sha256}",))
    return FileVerdict(expected.path, size, digest, ())


def _flaws(expected: ExpectedFile, size: int) -> Iterator[str]:
    """Yield the flaws of size and header."""
    if expected.size is not None and size != expected.size:
        yield f"it has {size:,} bytes instead of {expected.size:,}"
        return
    try:
        header = read_header(expected.path)
    except GgufError as error:
        yield error.message.removeprefix(f"{expected.path} ")
        return
    if size < header.data_end:
        yield f"it is truncated: its tensors end at byte {header.data_end:,}, and it has {size:,}"
    yield from _header_flaws(expected, header)


def _header_flaws(expected: ExpectedFile, header: GgufHeader) -> Iterator[str]:
    # Only the first part of a split file has the model's metadata.
    if expected.part == 1 and not header.architecture:
        yield "its header has no architecture"
    if header.parts != expected.parts:
        yield f"it is one of {header.parts} files by its header, and one of {expected.parts} by its name"
