"""Pins of builds from the hub, and differences between two lockfiles."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from localrouter.errors import HubNotFound, ManifestError
from localrouter.gguf.header import CHAT_TEMPLATE, GgufError, GgufHeader, read_header
from localrouter.weights.build_location import Found
from localrouter.weights.hub.remote_header import Ranges, remote_header
from localrouter.weights.manifest.lockfile import Lock
from localrouter.weights.manifest.pin import Pin
from localrouter.weights.registry import RegistryEntry

T = TypeVar("T")
S = TypeVar("S")

AT_ONCE = 4
"""Concurrent requests to the hub."""
GONE, NOTHING = "gone", "-"


class PinSource(Ranges, Protocol):
    """Requests to the hub that pinning needs; all raise HubError."""

    def pin(self, repo: str, file: str, revision: str | None = None) -> Pin:
        """Return the pin of a GGUF with all its parts at a revision; default: the head of main."""


@dataclass(frozen=True)
class LockChange:
    """One difference between two lockfiles; `-` where a side has no value."""

    build: str
    what: str
    old: str
    new: str


def resolve(entry: RegistryEntry, hub: PinSource) -> Pin:
    """Return the pin of a build from the hub, at the manifest's commit, or else at the head of main.

    Raises HubError, GgufError, and ManifestError when the file on the hub differs from the manifest.
    """
    assert entry.build.repo is not None
    assert entry.build.file is not None
    pin = hub.pin(entry.build.repo, entry.build.file, entry.build.revision)
    _require_manifest(entry, pin)
    return replace(pin, template_sha256=_template(entry, pin, hub))


def check(entry: RegistryEntry, hub: PinSource) -> list[LockChange]:
    """Return what has changed on the hub since the build was pinned. Raises HubError, GgufError, ManifestError."""
    old, name = entry.pin, entry.build.name
    assert entry.build.repo is not None
    assert entry.build.file is not None
    try:
        head = hub.pin(entry.build.repo, entry.build.file)
    except HubNotFound:
        return [LockChange(name, "main", old.commit if old else NOTHING, GONE)]
    if old is None:
        return [LockChange(name, "pin", NOTHING, head.commit)]
    there = _still_there(old, hub) if old.commit != head.commit else []
    same = old.files == head.files
    # An equal file has an equal template; the template of a new file is read only if the old one is known.
    template = old.template_sha256 if same or old.template_sha256 is None else _remote_template(head, hub)
    head = replace(head, license=head.license if old.license else None, template_sha256=template)
    return [LockChange(name, what, old.commit, GONE) for what in there] + changes(Lock({name: old}), Lock({name: head}))


def changes(old: Lock, new: Lock) -> list[LockChange]:
    """Return all differences between two lockfiles, sorted by build name."""
    found: list[LockChange] = []
    for name in sorted(old.entries.keys() | new.entries.keys()):
        before, after = old.entries.get(name), new.entries.get(name)
        if before is None or after is None:
            commits = (pin.commit if pin else NOTHING for pin in (before, after))
            found.append(LockChange(name, "pin", *commits))
        elif before != after:
            found += [LockChange(name, *difference) for difference in _differences(before, after)]
    return found


def template_digest(header: GgufHeader) -> str | None:
    """Return the sha256 of the chat template in a GGUF header; None without one."""
    text = header.metadata.get(CHAT_TEMPLATE)
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else None


def at_once(ask: Callable[[S], T], things: Iterable[S]) -> list[T]:
    """Call `ask` for all things concurrently and return the results in order. Raises the first failure at the end."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [*pool.map(ask, things)]


def _require_manifest(entry: RegistryEntry, pin: Pin) -> None:
    """Raise ManifestError when size or digest of the manifest differ from the pin."""
    build = entry.build
    pairs: list[tuple[str, object, object]] = [("size", build.size, pin.size)]
    if len(pin.files) == 1:
        pairs.append(("sha256", build.sha256, pin.files[0].sha256))
    for what, said, is_now in pairs:
        if said is not None and said != is_now:
            raise ManifestError(
                f"{entry.manifest}: {build.name}: its {what} is {said} in the manifest, "
                f"and {is_now} on the hub at {pin.commit}",
                hint=f"see https://huggingface.co/{pin.repo}/commits/main; then correct `{what}`, or `revision`",
            )


def _template(entry: RegistryEntry, pin: Pin, hub: PinSource) -> str | None:
    """Return the digest of the chat template: from the lockfile, else the local file, else the header on the hub."""
    before = entry.lock.entries.get(entry.build.name)
    if before is not None and before.files == pin.files and before.template_sha256 is not None:
        return before.template_sha256
    locked = replace(entry, lock=Lock({entry.build.name: pin}))
    location = locked.locate()
    if isinstance(location, Found):
        try:
            return template_digest(read_header(Path(location.path)))
        except GgufError:
            pass  # `verify` reports damaged files; the pin describes the hub's file
    return _remote_template(pin, hub)


def _remote_template(pin: Pin, hub: PinSource) -> str | None:
    return template_digest(remote_header(hub, pin))


def _still_there(old: Pin, hub: PinSource) -> list[str]:
    """Return a remark if the locked commit no longer exists on the hub, as after a rewritten history."""
    try:
        hub.pin(old.repo, old.files[0].name, old.commit)
    except HubNotFound:
        return ["locked commit"]
    return []


def _differences(old: Pin, new: Pin) -> Iterator[tuple[str, str, str]]:
    plain = (
        ("repo", old.repo, new.repo),
        ("commit", old.commit, new.commit),
        ("license", old.license, new.license),
        ("template", old.template_sha256, new.template_sha256),
    )
    for what, before, after in plain:
        if before != after:
            yield what, before or NOTHING, after or NOTHING
    befores, afters = ({file.name: file for file in pin.files} for pin in (old, new))
    for name in sorted(befores.keys() | afters.keys()):
        was, now = befores.get(name), afters.get(name)
        if was is None or now is None:
            yield "file", name if was else NOTHING, name if now else NOTHING
        elif was.sha256 != now.sha256:
            yield "sha256", was.sha256, now.sha256
        elif was.size != now.size:
            yield "size", str(was.size), str(now.size)
