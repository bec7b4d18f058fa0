"""Names of imported builds: entries in the user's manifest for builds that no manifest of this machine has."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils._fixes import WeakFileLock

from localrouter.errors import ManifestError
from localrouter.weights.build_location import Found
from localrouter.weights.bundle.import_target import ImportTarget
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.user_manifest import add_build
from localrouter.weights.registry import Registry, RegistryEntry, user_manifest_path


def name_builds(targets: Sequence[ImportTarget]) -> list[str]:
    """Add builds that no manifest has to the user's manifest, and return their full names. Raises ManifestError.

    Names in the user's own manifest are never changed. A lock keeps concurrent imports from adding a build twice.
    """
    own = user_manifest_path()
    if not _unknown(targets, own):
        return []
    with _alone(own):
        unknown = _unknown(targets, own)
        for build in unknown:
            add_build(own, build.alias, build.entry, build.description)
    return sorted(build.entry.name for build in unknown)


@dataclass(frozen=True)
class _Unknown:
    """A build that no manifest of this machine has."""

    alias: str
    description: str
    entry: Build


def _unknown(targets: Sequence[ImportTarget], own: Path) -> list[_Unknown]:
    known = {entry.build.name: entry for entry in Registry.read().entries}
    variants = {(entry.alias, entry.build.variant) for entry in known.values()}
    unknown = []
    for target in {target.build.name: target for target in reversed(targets)}.values():
        build, entry = target.build, known.get(target.build.name)
        if entry is None or (entry.manifest != own and not _is_same(entry, target)):
            taken = (build.alias, build.variant) in variants
            unknown.append(_Unknown(build.alias, build.description, _build(target, taken=taken)))
    return unknown


@contextmanager
def _alone(own: Path) -> Iterator[None]:
    """Hold the lock for adding imported builds to a manifest."""
    lock = own.parent / ".locks" / f"{own.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            yield
    except OSError as error:
        raise ManifestError(f"{own}: the model manifest cannot be written: {error.strerror}") from None


def _is_same(entry: RegistryEntry, target: ImportTarget) -> bool:
    """Whether the entry of a manifest names the same file as the imported build."""
    if target.build.repo is None:
        found = entry.locate()
        return isinstance(found, Found) and Path(found.path) == target.path
    build = entry.locked
    same = (build.repo, build.file) == (target.build.repo, target.file.name)
    return same and build.revision in (None, target.build.commit)


def _build(target: ImportTarget, *, taken: bool) -> Build:
    """Return the manifest build of an import; without its variant where the alias has another build of that variant."""
    build, file = target.build, target.file
    hub, split = build.repo is not None, len(build.files) > 1
    return Build(
        name=build.name,
        variant=None if taken else build.variant,
        path=None if hub else str(target.path),
        repo=build.repo,
        file=file.name if hub else None,
        revision=build.commit,
        size=sum(each.size for each in build.files),
        sha256=None if split else file.sha256,
        part_sha256=tuple(each.sha256 for each in build.files) if split and not hub else None,
        license=build.license,
    )
