"""Contents of a bundle for given names: the builds that they resolve to on this machine, files and licences."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localrouter.errors import ModelNotDownloaded
from localrouter.gguf.header import GgufError, read_header
from localrouter.gguf.parts import parts
from localrouter.memory.machine import Machine, this_machine
from localrouter.weights.bundle.exporter import BundleContents, Ingredient, ingredient
from localrouter.weights.bundle.index import BundledBuild, BundledFile, BundleError, PieceKind
from localrouter.weights.catalog import Catalog
from localrouter.weights.hashed_copy import Report, silent
from localrouter.weights.manifest.lockfile import Lock, lock_path
from localrouter.weights.registry import ManifestLayer, Registry, RegistryEntry, user_manifest_path

_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|usage_policy|gemma_prohibited)", re.IGNORECASE)
_MAX_LICENCE = 1 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


@dataclass(frozen=True)
class ChosenBuild:
    """One build on this machine with its files in order. `reason`: why it was chosen, where a name has several."""

    entry: RegistryEntry
    description: str
    paths: tuple[Path, ...]
    reason: str = ""

    @property
    def unhashed(self) -> int:
        """Bytes of files whose digest is not known and must be computed."""
        return sum(path.stat().st_size for path, digest in zip(self.paths, self.digests, strict=True) if not digest)

    @property
    def digests(self) -> tuple[str, ...]:
        """Expected sha256 of each file; an empty text where it is not known."""
        return tuple(digest or "" for digest in self.entry.digests(len(self.paths)))


def choose(
    registry: Registry, names: Iterable[str], *, machine: Callable[[], Machine] = this_machine
) -> list[ChosenBuild]:
    """Return the builds that these names resolve to on `machine`, each once. Raises OperatorError for a missing one."""
    catalog = Catalog(registry.manifest, Path(), machine=machine)
    chosen: dict[str, ChosenBuild] = {}
    for name in names:
        one = _answering(registry, catalog, name)
        chosen.setdefault(one.entry.build.name, one)
    return list(chosen.values())


def gather(registry: Registry, chosen: Sequence[ChosenBuild], report: Report = silent) -> BundleContents:
    """Return the contents of a bundle of these builds. `report` is called with bytes hashed. Raises BundleError."""
    builds: list[BundledBuild] = []
    ingredients = [each for layer in registry.layers for each in _papers(layer)]
    for each in chosen:
        weights = [_weight(path, known, report) for path, known in zip(each.paths, each.digests, strict=True)]
        builds.append(_describe(each, weights))
        ingredients += [*weights, *_licences(each, builds[-1])]
    return BundleContents(tuple(builds), tuple(ingredients))


def _answering(registry: Registry, catalog: Catalog, name: str) -> ChosenBuild:
    """Return the build that `localrouter serve` would resolve a name to. Raises BundleError if none is on disk."""
    entries = registry.find(name)
    try:
        resolved = catalog.resolve(name)
    except ModelNotDownloaded as error:
        raise BundleError(error.message, hint=_pull(entries[-1])) from None
    entry = next(entry for entry in entries if entry.build.name == resolved.model)
    return ChosenBuild(entry, resolved.description, entry.files(resolved.path), resolved.reason)


def _pull(entry: RegistryEntry) -> str:
    return f"download it with: localrouter pull {entry.name}"


def _papers(layer: ManifestLayer) -> Iterator[Ingredient]:
    """Yield a manifest and its lockfile, byte for byte."""
    folder = "user" if layer.path == user_manifest_path() else "manifest"
    yield ingredient(f"{folder}/model_manifest.toml", PieceKind.MANIFEST, layer.path)
    if (lock := lock_path(layer.path)).is_file():
        yield ingredient(f"{folder}/model_manifest.lock", PieceKind.LOCK, lock)


def pinned_digests(lock: Lock) -> set[str]:
    """Return the digests of all files of a lockfile, which a machine that uses it has."""
    return {file.sha256 for pin in lock.entries.values() for file in pin.files}


def _weight(path: Path, digest: str, report: Report) -> Ingredient:
    made = ingredient("weights/unnamed", PieceKind.WEIGHT, path, report, sha256=digest)
    name = f"weights/{made.member.sha256}/{_safe(path.name)}"
    return Ingredient(made.member.model_copy(update={"name": name}), path)


def _describe(chosen: ChosenBuild, weights: Sequence[Ingredient]) -> BundledBuild:
    build, pin = chosen.entry.build, chosen.entry.pin
    names = parts(build.file) if build.file else [path.name for path in chosen.paths]
    files = [
        BundledFile(name=name, size=weight.member.size, sha256=weight.member.sha256)
        for name, weight in zip(names, weights, strict=True)
    ]
    return BundledBuild(
        name=build.name,
        alias=chosen.entry.alias,
        variant=build.variant,
        description=chosen.description,
        license=build.license or (pin and pin.license) or _license_in_header(chosen.paths[0]),
        source=build.source,
        repo=build.repo,
        commit=_commit(chosen) if build.repo else None,
        files=tuple(files),
    )


def _commit(chosen: ChosenBuild) -> str:
    """Return the commit of a hub build: that of its pin, or of the cache snapshot in which its file was found."""
    if pin := chosen.entry.pin:
        return pin.commit
    depth = (chosen.entry.build.file or "").count("/")
    return chosen.paths[0].parents[depth].name


def _license_in_header(path: Path) -> str | None:
    try:
        return read_header(path).license or None
    except GgufError:
        return None


def _licences(chosen: ChosenBuild, build: BundledBuild) -> list[Ingredient]:
    """Return the licence files of a build: a generated facts file, and licence texts next to the weights."""
    folder = f"licences/{_safe(build.name)}"
    beside = sorted(path for path in chosen.paths[0].parent.iterdir() if _is_licence(path))
    return [
        ingredient(f"{folder}/FACTS.txt", PieceKind.LICENCE, _facts(build).encode()),
        *(ingredient(f"{folder}/{_safe(path.name)}", PieceKind.LICENCE, path) for path in beside),
    ]


def _is_licence(path: Path) -> bool:
    return bool(_LICENCE_FILE.match(path.name)) and path.is_file() and path.stat().st_size <= _MAX_LICENCE


def _facts(build: BundledBuild) -> str:
    origin = {
        "hub": f"https://huggingface.co/{build.repo}/tree/{build.commit}",
        "asset": "shipped with localrouter",
        "path": "a file of the machine on which the bundle was made",
    }[build.source]
    lines = [f"model: {build.name}", f"licence: {build.license or 'not known'}", f"source: {origin}"]
    lines += [f"file: {file.name}, {file.size} bytes, sha256 {file.sha256}" for file in build.files]
    return "\n".join(lines) + "\n"


def _safe(name: str) -> str:
    """Return a file name that is valid in every tar and file system; the index has the original one."""
    return _UNSAFE.sub("_", name).lstrip(".+-")[-100:] or "_"
