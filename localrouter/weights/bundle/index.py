"""What stands first in a bundle: which files follow, and which builds of which models they make.

The index is read before anything is known about whoever wrote it. So it is checked like a manifest: no name in it can
lead out of a folder, nothing stands there twice, and every weight belongs to a build.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from localrouter.errors import OperatorError
from localrouter.weights.manifest.manifest import AliasName, BuildName, Repo, RepoFile, Revision, Sha256, Source, Text
from localrouter.weights.manifest.toml_file import StrictTable

FORMAT = 1
INDEX, SIGNATURE = "bundle.json", "bundle.json.sig"
MAX_INDEX = 8 << 20
"""Bytes of an index; a bundle of a hundred builds has some 100 kB."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")


class BundleError(OperatorError):
    """A bundle that cannot be made, read or brought in as things are."""


class BundleRefused(BundleError):
    """A bundle that is not what it says, or not from whom it should be. Nothing of it may be used."""


class PieceKind(StrEnum):
    """What a member is, in the order in which they stand in a bundle."""

    MANIFEST = "manifest"
    LOCK = "lock"
    LICENCE = "licence"
    WEIGHT = "weight"
    WHEEL = "wheel"


def _check_member(name: str) -> str:
    if not _PLAIN.fullmatch(name) or name in (INDEX, SIGNATURE) or len(name) > 255:
        raise ValueError("must be a plain relative name")
    return name


def _check_printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must be printable")
    return name


class BundleMember(StrictTable):
    """One file inside the tar; `size` is in bytes."""

    name: Annotated[str, AfterValidator(_check_member)]
    kind: PieceKind
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256


class BundledFile(StrictTable):
    """One GGUF of a build. The member with this digest carries it; without one the receiver must have it already."""

    name: Annotated[RepoFile, AfterValidator(_check_printable)]
    size: Annotated[int, Field(ge=1)]
    sha256: Sha256


class BundledBuild(StrictTable):
    """One build, with where it goes: a commit of a repository in the Hugging Face cache, or the user's own models."""

    name: BuildName
    alias: AliasName
    variant: AliasName | None = None
    description: str = ""
    license: Text | None = None
    source: Source
    repo: Repo | None = None
    commit: Revision | None = None
    files: Annotated[tuple[BundledFile, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _place(self) -> "BundledBuild":
        if (self.source == "hub") != (self.repo is not None and self.commit is not None):
            raise ValueError("a build of the hub has a repo and a commit, and no other has")
        if self.source != "hub" and any("/" in file.name for file in self.files):
            raise ValueError("a file that is not of the hub has a plain name")
        return self


class WheelTarget(StrictTable):
    """Where the wheels install: this version of Python or newer where a wheel allows it, this system, this libc."""

    python: Text
    platform: Text
    libc: str


class BundleIndex(StrictTable):
    """The whole index; members stand in the order of the tar."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)] = FORMAT
    localrouter: Text
    """The version that wrote it, and whose wheel is inside if there are wheels."""
    builds: tuple[BundledBuild, ...]
    members: tuple[BundleMember, ...]
    wheels: WheelTarget | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "BundleIndex":
        _refuse_twice("member", (member.name for member in self.members))
        _refuse_twice("digest", (member.sha256 for member in self.weights))
        _refuse_twice("build", (build.name for build in self.builds))
        sizes = {file.sha256: file.size for file in self.files}
        for member in self.weights:
            if sizes.get(member.sha256) != member.size:
                raise ValueError(f"{member.name} belongs to no build, or has another size there")
        return self

    @property
    def files(self) -> list[BundledFile]:
        """The files of all builds."""
        return [file for build in self.builds for file in build.files]

    @property
    def weights(self) -> list[BundleMember]:
        """The members that are models."""
        return self.of(PieceKind.WEIGHT)

    @property
    def presupposed(self) -> list[BundledFile]:
        """Files that the receiver must have already: what a delta bundle leaves out."""
        carried = {member.sha256 for member in self.weights}
        return [file for file in self.files if file.sha256 not in carried]

    def of(self, *kinds: PieceKind) -> list[BundleMember]:
        """The members of these kinds, in their order."""
        return [member for member in self.members if member.kind in kinds]


def render_index(index: BundleIndex) -> bytes:
    """The index as it stands in a bundle: the same bytes for the same index."""
    return index.model_dump_json(indent=1).encode() + b"\n"


def parse_index(data: bytes) -> BundleIndex:
    """Check an index that anybody may have written. Raises BundleRefused."""
    try:
        return BundleIndex.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        if first["loc"] == ("format",):
            raise BundleRefused(
                "the bundle has another format than this localrouter reads", hint="use the version that wrote it"
            ) from None
        raise BundleRefused(
            f"the bundle's index is wrong: {where}: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _refuse_twice(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"the {what} {value} stands there twice")
        seen.add(value)
