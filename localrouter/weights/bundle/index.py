"""Index of a bundle, its first member: the files that follow, and the builds of models that they belong to.

The index comes from an untrusted source. So it is validated like a manifest: no name leads out of a folder, nothing is
listed twice, and every weight belongs to a build.
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
"""Largest index in bytes; that of a hundred builds has some 100 kB."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")


class BundleError(OperatorError):
    """A bundle cannot be written, read or imported."""


class BundleRejected(BundleError):
    """A bundle is damaged, inconsistent or not signed as required. None of its files may be used."""


class PieceKind(StrEnum):
    """Kind of a member, in the order of members in a bundle."""

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
    """One GGUF of a build. If no member has this digest, the receiver must have the file already."""

    name: Annotated[RepoFile, AfterValidator(_check_printable)]
    size: Annotated[int, Field(ge=1)]
    sha256: Sha256


class BundledBuild(StrictTable):
    """One build and its destination: a commit of a repository in the Hugging Face cache, or the user's data folder."""

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
    """Platform of the wheels: Python version (or newer where a wheel allows it), system and libc."""

    python: Text
    platform: Text
    libc: str


class BundleIndex(StrictTable):
    """The index of a bundle; members are in the order of the tar."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)] = FORMAT
    localrouter: Text
    """Version of localrouter that wrote the bundle, and of its wheel if there are wheels."""
    builds: tuple[BundledBuild, ...]
    members: tuple[BundleMember, ...]
    wheels: WheelTarget | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "BundleIndex":
        _reject_duplicates("member", (member.name for member in self.members))
        _reject_duplicates("digest", (member.sha256 for member in self.weights))
        _reject_duplicates("build", (build.name for build in self.builds))
        sizes = {file.sha256: file.size for file in self.files}
        for member in self.weights:
            if sizes.get(member.sha256) != member.size:
                raise ValueError(f"{member.name} belongs to no build, or has another size in its build")
        return self

    @property
    def files(self) -> list[BundledFile]:
        """Files of all builds."""
        return [file for build in self.builds for file in build.files]

    @property
    def weights(self) -> list[BundleMember]:
        """Members that are model weights."""
        return self.of(PieceKind.WEIGHT)

    @property
    def presupposed(self) -> list[BundledFile]:
        """Files that a delta bundle leaves out, and that the receiver must have already."""
        carried = {member.sha256 for member in self.weights}
        return [file for file in self.files if file.sha256 not in carried]

    def of(self, *kinds: PieceKind) -> list[BundleMember]:
        """Return the members of these kinds, in the order of the tar."""
        return [member for member in self.members if member.kind in kinds]


def render_index(index: BundleIndex) -> bytes:
    """Return the index as JSON bytes; equal indexes give equal bytes."""
    return index.model_dump_json(indent=1).encode() + b"\n"


def parse_index(data: bytes) -> BundleIndex:
    """Parse and validate an index from an untrusted source. Raises BundleRejected."""
    try:
        return BundleIndex.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        if first["loc"] == ("format",):
            raise BundleRejected(
                "the bundle has a format that this version of localrouter cannot read",
                hint="use the version that wrote it",
            ) from None
        raise BundleRejected(
            f"the bundle's index is invalid: {where}: {first['msg'].removeprefix('Value error, ')}"
        ) from None


def _reject_duplicates(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"the {what} {value} is listed twice")
        seen.add(value)
