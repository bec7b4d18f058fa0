"""Lockfile: for every build of the manifest that comes from the hub, the commit and the exact files of its pin.

The lockfile is next to the manifest, is written by `localrouter lock` only, and should be reviewed and versioned.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field

from localrouter.errors import ManifestError
from localrouter.gguf.parts import parts
from localrouter.weights.manifest.manifest import Build, BuildName, Repo, RepoFile, Revision, Sha256, Text
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.manifest.toml_file import StrictTable, TomlFile, quoted, read_text, write_text

_WORDS = {"version": "only version 1 of the lockfile is supported; it was written by another version of localrouter"}
_AGAIN = "restore it, or delete it and write it again with: localrouter lock"
_HEADER = """\
# Written by `localrouter lock` from the model manifest beside it. Do not edit: change the manifest and lock again.
# Keep this file with the manifest. `localrouter lock --check` says whether the hub still has what stands here.

version = 1
"""


@dataclass(frozen=True)
class Lock:
    """Contents of a lockfile: pins by the full name of their build."""

    entries: Mapping[str, Pin] = field(default_factory=lambda: MappingProxyType({}))


class _File(StrictTable):
    name: RepoFile
    size: Annotated[int, Field(ge=1)]
    sha256: Sha256


def _check_files(files: tuple[_File, ...]) -> tuple[_File, ...]:
    names = tuple(file.name for file in files)
    if not names or names != parts(names[0]):
        raise ValueError("must be one file, or all parts of a split one in their order")
    return files


class _Entry(StrictTable):
    repo: Repo
    commit: Revision
    license: Text | None = None
    template_sha256: Sha256 | None = None
    files: Annotated[tuple[_File, ...], Field(strict=False), AfterValidator(_check_files)]


class _Document(StrictTable):
    version: Annotated[int, Field(ge=1, le=1)]
    builds: dict[BuildName, _Entry] = Field(default_factory=dict)


def lock_path(manifest: Path) -> Path:
    """Return the path of a manifest's lockfile: next to it, with the suffix `.lock`."""
    return manifest.with_suffix(".lock")


def read_lock(path: Path) -> Lock:
    """Read and validate a lockfile; a missing one has no entries. Raises ManifestError with file, line and key."""
    if not os.path.lexists(path):
        return Lock()
    text = read_text(path, "lock", hint=_AGAIN)
    document = TomlFile(path, text, hint=_AGAIN, words=_WORDS).check(_Document)
    return Lock({name: _pin(entry) for name, entry in document.builds.items()})


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lockfile atomically. Raises ManifestError when the directory cannot be written."""
    try:
        write_text(path, render_lock(lock))
    except OSError as error:
        raise ManifestError(
            f"{path}: the lockfile cannot be written: {error.strerror}",
            hint="copy the manifest to a writable directory, or write the lockfile elsewhere with --output FILE",
        ) from None


def render_lock(lock: Lock) -> str:
    """Return the text of a lockfile, sorted by name, so that equal contents give equal texts and diffs are small."""
    return _HEADER + "".join(_render(name, pin) for name, pin in sorted(lock.entries.items()))


def pin_of(build: Build, lock: Lock) -> Pin | None:
    """Return the pin of a build from the lockfile, or from the manifest if that has commit, size and digest.

    None if neither pins it, or the build does not come from the hub. Raises ManifestError if the two contradict.
    """
    if build.repo is None or build.file is None:
        return None
    pin = lock.entries.get(build.name)
    if pin is None:
        return _manifest_pin(build)
    contradictions = list(_contradictions(build, pin))
    if contradictions:
        raise ManifestError(
            f"{build.name}: the manifest and its lockfile contradict each other: {'; '.join(contradictions)}",
            hint=f"correct the manifest, or update the lockfile from it with: localrouter lock {build.name}",
        )
    return pin


def _manifest_pin(build: Build) -> Pin | None:
    """Return the pin in the manifest, if complete; a split build can be pinned by the lockfile only."""
    if build.repo is None or build.file is None or len(parts(build.file)) > 1:
        return None
    if build.revision is None or build.size is None or build.sha256 is None:
        return None
    file = PinnedFile(build.file, build.size, build.sha256)
    return Pin(build.repo, build.revision, (file,), build.license)


def _contradictions(build: Build, pin: Pin) -> Iterable[str]:
    first = pin.files[0]
    pairs: list[tuple[str, object, object]] = [
        ("repo", build.repo, pin.repo),
        ("revision", build.revision, pin.commit),
        ("file", build.file and parts(build.file)[0], first.name),
        ("size", build.size, pin.size),
    ]
    if len(pin.files) == 1:
        pairs.append(("sha256", build.sha256, first.sha256))
    for what, said, locked in pairs:
        if said is not None and said != locked:
            yield f"{what} is {said} in the manifest and {locked} in the lock"


def _pin(entry: _Entry) -> Pin:
    files = tuple(PinnedFile(file.name, file.size, file.sha256) for file in entry.files)
    return Pin(entry.repo, entry.commit, files, entry.license, entry.template_sha256)


def _render(name: str, pin: Pin) -> str:
    lines = [f"[builds.{quoted(name)}]", f"repo = {quoted(pin.repo)}", f"commit = {quoted(pin.commit)}"]
    if pin.license is not None:
        lines.append(f"license = {quoted(pin.license)}")
    if pin.template_sha256 is not None:
        lines.append(f"template_sha256 = {quoted(pin.template_sha256)}")
    for file in pin.files:
        lines += ["", f"[[builds.{quoted(name)}.files]]", f"name = {quoted(file.name)}"]
        lines += [f"size = {file.size:_}", f"sha256 = {quoted(file.sha256)}"]
    return "\n" + "\n".join(lines) + "\n"
