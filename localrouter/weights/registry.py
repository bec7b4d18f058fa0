"""The manifests in force, as one: what is shipped and what the user added, each with the lock beside it.

A manifest that is named (`--manifest FILE`) stands alone. Otherwise the user's own goes before the shipped one: its
builds stand first in their alias, and a shipped build of the same full name gives way.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from localrouter.errors import ConfigError, ManifestError
from localrouter.weights.build_location import Location, expand, files_at, locate
from localrouter.weights.manifest.lockfile import Lock, lock_path, pin_of, read_lock
from localrouter.weights.manifest.manifest import Build, Manifest, Model, default_manifest_path, load_manifest
from localrouter.weights.manifest.pin import Pin
from localrouter.weights.missing_model import not_found


@dataclass(frozen=True)
class RegistryEntry:
    """One build, with the alias it stands behind and the manifest that names it."""

    alias: str
    build: Build
    manifest: Path
    lock: Lock = field(repr=False, compare=False, default_factory=Lock)

    @property
    def name(self) -> str:
        """The shortest name that means this build alone."""
        return f"{self.alias}:{self.build.variant}" if self.build.variant else self.build.name

    @property
    def pin(self) -> Pin | None:
        """What the build is pinned to, if it is. Raises ManifestError when manifest and lock contradict each other."""
        return pin_of(self.build, self.lock)

    @property
    def locked(self) -> Build:
        """The build with everything that its pin adds, so that it is looked for where the pin says."""
        pin = self.pin
        if pin is None:
            return self.build
        known: dict[str, object] = {"revision": pin.commit, "size": pin.size}
        known["license"] = self.build.license or pin.license
        if len(pin.files) == 1:
            known["sha256"] = pin.files[0].sha256
        return self.build.model_copy(update=known)

    def digests(self, count: int) -> tuple[str | None, ...]:
        """The sha256 that each of `count` files on this machine should have; None where nobody said it."""
        if (pin := self.pin) is not None and len(pin.files) == count:
            return tuple(file.sha256 for file in pin.files)
        if count == 1:
            return (self.build.sha256,)
        return self.build.part_sha256 or (None,) * count

    def sizes(self, count: int) -> tuple[int | None, ...]:
        """The bytes that each of `count` files should have, likewise."""
        if (pin := self.pin) is not None and len(pin.files) == count:
            return tuple(file.size for file in pin.files)
        return (self.build.size,) if count == 1 else (None,) * count

    def locate(self) -> Location:
        """Look for the (first) file of the build on this machine."""
        return locate(self.locked, self.manifest.parent)

    def files(self, first: str) -> tuple[Path, ...]:
        """Every file of the build where its first one is at `first`; parts of a split one lie side by side."""
        return tuple(map(Path, files_at(first)))


@dataclass(frozen=True)
class ManifestLayer:
    """One manifest file, read, and its lock."""

    path: Path
    manifest: Manifest
    lock: Lock

    @classmethod
    def read(cls, path: Path) -> "ManifestLayer":
        """Read a manifest and the lock beside it. Raises ManifestError, which names the file that is wrong."""
        return cls(path, load_manifest(path), read_lock(lock_path(path)))

    def entries(self) -> Iterator[RegistryEntry]:
        """Every build of this file."""
        for alias, model in self.manifest.models.items():
            for build in model.builds:
                yield RegistryEntry(alias, build, self.path, self.lock)


class Registry:
    """All builds of some manifests. `layers` go from weak to strong: a later one goes before those before it."""

    def __init__(self, layers: Iterable[ManifestLayer]) -> None:
        self.layers = tuple(layers)
        merged = self.layers[0].manifest
        for layer in self.layers[1:]:
            refuse_ambiguity(layer, merged)
            merged = merge(merged, layer.manifest)
        owners = {entry.build.name: entry for layer in self.layers for entry in layer.entries()}
        self.models = merged.models
        """What stands behind each alias, as its manifest says it."""
        self.entries = tuple(
            RegistryEntry(alias, build, owners[build.name].manifest, owners[build.name].lock)
            for alias, model in merged.models.items()
            for build in model.builds
        )

    @classmethod
    def read(cls, named: Path | None = None) -> "Registry":
        """Read the manifests in force: the named one alone, or the shipped one and the user's, if there is one."""
        return cls(ManifestLayer.read(path) for path in manifest_paths(named))

    @property
    def manifest(self) -> Manifest:
        """Everything as one manifest, with what the locks add; paths are absolute, since they come from several files.

        Raises ManifestError when a manifest and its lock contradict each other.
        """
        builds: dict[str, list[Build]] = {alias: [] for alias in self.models}
        for entry in self.entries:
            builds[entry.alias].append(_absolute(entry.locked, entry.manifest.parent))
        models = {
            alias: model.model_copy(update={"builds": tuple(builds[alias])}) for alias, model in self.models.items()
        }
        return Manifest(version=1, models=models)

    def find(self, name: str) -> tuple[RegistryEntry, ...]:
        """The builds behind an alias, `alias:variant` or a full name, preferred ones first; at least one.

        Raises ConfigError when nothing has this name.
        """
        found = tuple(
            entry for entry in self.entries if name in {entry.alias, f"{entry.alias}:{entry.build.variant}"}
        ) or tuple(entry for entry in self.entries if entry.build.name == name)
        if not found:
            names = [*self.models, *(entry.name for entry in self.entries), *(e.build.name for e in self.entries)]
            raise ConfigError(
                not_found(name, list(self.models), names).message, hint="localrouter list shows every name"
            )
        return found

    def select(self, names: Iterable[str]) -> tuple[RegistryEntry, ...]:
        """The builds behind all these names, each once; without names every build there is. Raises ConfigError."""
        wanted = list(names)
        if not wanted:
            return self.entries
        return tuple({entry.build.name: entry for name in wanted for entry in self.find(name)}.values())


def manifest_paths(named: Path | None = None) -> list[Path]:
    """The files in force, weak ones first."""
    if named is not None:
        return [named]
    own = user_manifest_path()
    return [default_manifest_path(), *([own] if _stands(own) else [])]


def _stands(path: Path) -> bool:
    """Whether something has this name. What cannot be looked at counts, so that reading it says why."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def user_manifest_path() -> Path:
    """Where the user's own manifest is, or would be."""
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".config"
    return base / "localrouter" / "model_manifest.toml"


def merge(base: Manifest, own: Manifest) -> Manifest:
    """One manifest of two; `own` goes before `base` wherever both say something.

    A full name of `own` is only there; a variant of `own` is only there, and the other build keeps its full name.
    """
    taken = {build.name for model in own.models.values() for build in model.builds}
    models = dict(base.models)
    for alias, model in base.models.items():
        builds = [build for build in model.builds if build.name not in taken]
        models[alias] = _merge_model(model, builds, own.models.get(alias))
    models |= {alias: model for alias, model in own.models.items() if alias not in models}
    return Manifest(version=1, models={alias: model for alias, model in models.items() if model.builds})


def refuse_ambiguity(layer: ManifestLayer, base: Manifest) -> None:
    """Raise ManifestError when a name of this layer is an alias in one file and a full name in another."""
    names = {build.name: alias for alias, model in base.models.items() for build in model.builds}
    for entry in layer.entries():
        if entry.alias in names and names[entry.alias] != entry.alias:
            raise ManifestError(
                f"{layer.path}: models.{entry.alias}: this alias is the full name of a shipped build of "
                f"{names[entry.alias]!r}",
                hint="choose another alias",
            )
        if entry.build.name in base.models:
            raise ManifestError(
                f"{layer.path}: models.{entry.alias}: the build {entry.build.name!r} is called like a shipped alias",
                hint="choose another name for the build",
            )


def _merge_model(base: Model, builds: list[Build], own: Model | None) -> Model:
    if own is None:
        return base.model_copy(update={"builds": tuple(builds)})
    variants = {build.variant for build in own.builds}
    kept = [build.model_copy(update={"variant": None}) if build.variant in variants else build for build in builds]
    stronger = {key: value for key in own.model_fields_set if (value := getattr(own, key)) is not None}
    return base.model_copy(update=stronger | {"builds": (*own.builds, *kept)})


def _absolute(build: Build, base: Path) -> Build:
    written = {"path": build.path, "chat_template": build.chat_template}
    absolute = {key: str(expand(path, base.absolute())) for key, path in written.items() if path is not None}
    return build.model_copy(update=absolute) if absolute else build
