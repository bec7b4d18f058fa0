"""Whether the files of a build are what they should be: size, header, tensors inside the file, sha256."""

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
    """One file of a build and what is known of it beforehand; None: nobody said. `part` counts from 1."""

    path: Path
    size: int | None = None
    sha256: str | None = None
    part: int = 1
    parts: int = 1


@dataclass(frozen=True)
class FileVerdict:
    """What was found of one file. `sha256` is its digest, None where it was not computed or compared with nothing."""

    path: Path
    size: int
    sha256: str | None
    flaws: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Nothing is wrong with it, as far as is known."""
        return not self.flaws


@dataclass(frozen=True)
class BuildVerdict:
    """What was found of a build."""

    entry: RegistryEntry
    files: tuple[FileVerdict, ...]
    flaws: tuple[str, ...] = ()
    """What is wrong with the parts of a split build together."""

    @property
    def good(self) -> bool:
        """Nothing is wrong with the build or one of its files."""
        return not self.flaws and all(file.good for file in self.files)

    @property
    def hashed(self) -> bool:
        """Every file was held against a digest."""
        return all(file.sha256 is not None for file in self.files)

    @property
    def remedy(self) -> str:
        """What to do about a bad build."""
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
            return f"put {', '.join(absent)} beside the other parts"
        return f"put back what was added, or take it as it is now with: {add_again(self.entry)}"


def expected_files(entry: RegistryEntry) -> tuple[ExpectedFile, ...]:
    """The files of a build on this machine, and what its pin or its manifest says of them; none: it is not there."""
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
    """Look at all of a build. `report` hears of bytes as they are read."""
    verdicts = tuple(verify_file(file, report) for file in files)
    location = entry.locate()
    if all(verdict.good for verdict in verdicts) and isinstance(location, Damaged):
        together = f"all parts together have {location.size:,} bytes, and {location.expected:,} are right"
        return BuildVerdict(entry, verdicts, (together,))
    return BuildVerdict(entry, verdicts)


def verify_file(expected: ExpectedFile, report: Report = silent) -> FileVerdict:
    """Look at one file; cheap questions first, and the digest only when its answer is not known before."""
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
        return FileVerdict(expected.path, size, None, ("it became shorter while it was read",))
    if digest != expected.sha256:
        return FileVerdict(expected.path, size, digest, (f"its sha256 is {digest}, and {expected.sha256} is right",))
    return FileVerdict(expected.path, size, digest, ())


def _flaws(expected: ExpectedFile, size: int) -> Iterator[str]:
    """What a look at size and header shows."""
    if expected.size is not None and size != expected.size:
        yield f"it has {size:,} bytes, and {expected.size:,} are right"
        return
    try:
        header = read_header(expected.path)
    except GgufError as error:
        yield error.message.removeprefix(f"{expected.path} ")
        return
    if size < header.data_end:
        yield f"its tensors end at byte {header.data_end:,}, and it has {size:,}: it was cut"
    yield from _header_flaws(expected, header)


def _header_flaws(expected: ExpectedFile, header: GgufHeader) -> Iterator[str]:
    # Only the first part of a split file says what the model is.
    if expected.part == 1 and not header.architecture:
        yield "its header does not say which architecture it is"
    if header.parts != expected.parts:
        yield f"its header says that it is one of {header.parts} files, and its name that it is one of {expected.parts}"
