"""Giving imported builds their names: the user's manifest gets an entry for each that no manifest here knows."""

from collections.abc import Sequence
from pathlib import Path

from localrouter.weights.bundle.target import Target
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.registry import Entry, Registry, user_manifest_path
from localrouter.weights.manifest.user_manifest import add_build
from localrouter.weights.store import Found


def name_builds(targets: Sequence[Target]) -> list[str]:
    """Add what is unknown to the user's manifest and return those full names. Raises ManifestError.

    A name that the user's own manifest has already stays what it is.
    """
    own = user_manifest_path()
    known = {entry.build.name: entry for entry in Registry.read().entries}
    variants = {(entry.alias, entry.build.variant) for entry in known.values()}
    added = []
    for target in {target.build.name: target for target in reversed(targets)}.values():
        entry = known.get(target.build.name)
        if entry is None or (entry.manifest != own and not _is_same(entry, target)):
            taken = (target.build.alias, target.build.variant) in variants
            add_build(own, target.build.alias, _build(target, taken=taken), target.build.description)
            added.append(target.build.name)
    return sorted(added)


def _is_same(entry: Entry, target: Target) -> bool:
    """Whether a manifest means what was brought by this name."""
    if target.build.repo is None:
        found = entry.locate()
        return isinstance(found, Found) and Path(found.path) == target.path
    build = entry.locked
    same = (build.repo, build.file) == (target.build.repo, target.file.name)
    return same and build.revision in (None, target.build.commit)


def _build(target: Target, *, taken: bool) -> Build:
    """The entry of a manifest; without its variant where the alias has another build of that variant."""
    build, file = target.build, target.file
    hub = build.repo is not None
    return Build(
        name=build.name,
        variant=None if taken else build.variant,
        path=None if hub else str(target.path),
        repo=build.repo,
        file=file.name if hub else None,
        revision=build.commit,
        size=sum(each.size for each in build.files),
        sha256=file.sha256 if len(build.files) == 1 else None,
        license=build.license,
    )
