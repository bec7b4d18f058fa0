"""Builds that `localrouter add` adds: a local GGUF file, or `hf:REPO/FILE[@REV]`."""

import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from localrouter.errors import ConfigError
from localrouter.gguf.header import read_header
from localrouter.gguf.parts import parts
from localrouter.weights.build_location import expand
from localrouter.weights.hashed_copy import CutShort, Report, hashed, silent
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.user_manifest import check_alias
from localrouter.weights.registry import Registry, RegistryEntry, user_manifest_path

_HUB = re.compile(r"hf:(?P<repo>[^/@]+/[^/@]+)/(?P<file>[^@]+)(?:@(?P<revision>.+))?")
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_COMMIT = re.compile("[0-9a-f]{40}")
_FORMS = "pass a GGUF file, or a file of the hub as hf:OWNER/REPOSITORY/FILE.gguf, optionally with @REVISION"


@dataclass(frozen=True)
class Addition:
    """One build to add. `revision` is a branch or a tag that the hub must resolve to a commit, or None.

    `files` are all parts of a local GGUF, in order; empty for a file of the hub.
    """

    alias: str
    build: Build
    description: str
    revision: str | None = None
    files: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all local files together."""
        return sum(file.stat().st_size for file in self.files)

    def in_place_of(self, old: RegistryEntry) -> "Addition":
        """Return the addition as an update of an earlier one, which keeps values that are not given now."""
        known = {key: getattr(self.build, key) for key in ("size", "sha256", "part_sha256")}
        known |= {key: said for key in ("variant", "license") if (said := getattr(self.build, key)) is not None}
        if self.files[0] != expand(old.build.path or "", old.manifest.absolute().parent):
            known["path"] = self.build.path
        return replace(self, build=old.build.model_copy(update=known))

    def with_digests(self, report: Report = silent) -> "Addition":
        """Return the addition with the sha256 of its files. `report` is called with bytes read. Raises ConfigError."""
        digests = tuple(_digest(file, report) for file in self.files)
        known = {"sha256": digests[0]} if len(digests) == 1 else {"part_sha256": digests}
        return replace(self, build=self.build.model_copy(update=known))


def addition(name: str, value: str, full_name: str | None = None) -> Addition:
    """Return the addition for ALIAS[:VARIANT] and a file. Raises ConfigError, or GgufError for another file."""
    alias, colon, variant = name.partition(":")
    for each in (alias, variant) if colon else (alias,):
        check_alias(each)
    if value.startswith("hf:"):
        return _of_the_hub(alias, variant or None, value, full_name)
    return _of_this_machine(alias, variant or None, value, full_name)


def added_before(new: Addition, own: Path, registry: Registry) -> RegistryEntry | None:
    """Return the entry of the manifest `own` that this addition updates: a local file with the same names; or None."""
    for entry in registry.entries:
        same = (entry.manifest, entry.alias, entry.build.name) == (own, new.alias, new.build.name)
        if same and entry.build.source == new.build.source == "path":
            return entry
    return None


def add_again(entry: RegistryEntry) -> str:
    """Return the command that updates the record of a local file."""
    path = expand(entry.build.path or "", entry.manifest.absolute().parent)
    name = f"{entry.alias}:{entry.build.variant}" if entry.build.variant else entry.alias
    command = ["localrouter", "add", name, str(path)]
    if entry.build.name != _stem(path):
        command += ["--name", entry.build.name]
    if entry.manifest != user_manifest_path():
        command += ["--manifest", str(entry.manifest)]
    return shlex.join(command)


def refuse_duplicate(new: Addition, registry: Registry, old: RegistryEntry | None = None) -> None:
    """Raise ConfigError when a name of the new build is used by another build than `old`, which it replaces."""
    full, variant = new.build.name, new.build.variant
    for entry in registry.entries:
        if entry == old:
            continue
        if full in {entry.build.name, entry.alias}:
            raise ConfigError(f"{full!r} is already in {entry.manifest}", hint="pass another full name with --name")
        if (entry.alias, entry.build.variant) == (new.alias, variant) and variant is not None:
            raise ConfigError(f"'{new.alias}:{variant}' is already {entry.build.name}", hint="choose another variant")
        if new.alias == entry.build.name:
            raise ConfigError(
                f"{new.alias!r} is the full name of a build of {entry.alias!r}", hint="choose another alias"
            )


def _of_the_hub(alias: str, variant: str | None, value: str, full_name: str | None) -> Addition:
    said = _HUB.fullmatch(value)
    if said is None:
        raise ConfigError(f"{value}: not of the form hf:OWNER/REPOSITORY/FILE[@REVISION]", hint=_FORMS)
    repo, file, revision = said["repo"], parts(said["file"])[0], said["revision"]
    pinned = revision if revision and _COMMIT.fullmatch(revision) else None
    keys = {"repo": repo, "file": file, "revision": pinned}
    build = _build(value, full_name or _stem(Path(file)), variant, keys)
    return Addition(alias, build, f"From {repo}.", None if pinned else revision)


def _of_this_machine(alias: str, variant: str | None, value: str, full_name: str | None) -> Addition:
    given = Path(os.path.abspath(os.path.expanduser(value)))
    path = given.with_name(parts(given.name)[0])
    for part in parts(path.name):
        if not path.with_name(part).is_file():
            raise ConfigError(f"{value}: there is no file {path.with_name(part)}", hint=_FORMS)
    header = read_header(path)
    files = tuple(path.with_name(part) for part in parts(path.name))
    keys = {"path": str(path), "license": header.license or None}
    build = _build(value, full_name or _stem(path), variant, keys)
    build = build.model_copy(update={"size": sum(file.stat().st_size for file in files)})
    known = ", ".join(fact for fact in (header.architecture, header.file_type) if fact)
    said = f"A file of this machine ({known})." if known else "A file of this machine."
    return Addition(alias, build, said, files=files)


def _digest(file: Path, report: Report) -> str:
    try:
        with file.open("rb", buffering=0) as source:
            return hashed(source, file.stat().st_size, report)
    except OSError as error:
        raise ConfigError(f"{file}: the file cannot be read: {error.strerror}") from None
    except CutShort:
        raise ConfigError(
            f"{file}: the file was truncated while it was read", hint="add it when it is complete"
        ) from None


def _build(value: str, name: str, variant: str | None, keys: dict[str, str | None]) -> Build:
    try:
        return Build.model_validate({"name": name, "variant": variant} | keys)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{value}: {where}: {first['msg'].removeprefix('Value error, ')}",
            hint="pass another full name with --name" if where == "name" else _FORMS,
        ) from None


def _stem(path: Path) -> str:
    """Return the default full name: the file name without its extension and part number."""
    return _PART.sub("", path.stem if path.suffix.lower() == ".gguf" else path.name)
