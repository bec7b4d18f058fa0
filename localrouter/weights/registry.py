"""Registry of builds: the shipped manifest and the user's own merged, each with its lockfile.

A manifest selected with `--manifest FILE` is used alone. Otherwise the user's own takes precedence over the shipped
one: its builds come first in their alias, and override shipped builds of the same full name.
"""

import os
from collections.abc import Container, Iterable, Iterator
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
    """One build with its alias, and with the manifest and lockfile that it comes from."""

    alias: str
    build: Build
    manifest: Path
    lock: Lock = field(repr=False, compare=False, default_factory=Lock)

    @property
    def name(self) -> str:
        """Shortest unique name of the build: `alias:variant`, or the full name."""
        return f"{self.alias}:{self.build.variant}" if self.build.variant else self.build.name

    @property
    def pin(self) -> Pin | None:
        """Pin of the build, or None. Raises ManifestError when manifest and lockfile contradict each other."""
        return pin_of(self.build, self.lock)

    @property
    def locked(self) -> Build:
        """The build with revision, size, licence and digest of its pin. Raises ManifestError."""
        pin = self.pin
        if pin is None:
            return self.build
        known: dict[str, object] = {"revision": pin.commit, "size": pin.size}
        known["license"] = self.build.license or pin.license
        if len(pin.files) == 1:
            known["sha256"] = pin.files[0].sha256
        return self.build.model_copy(update=known)

    def digests(self, count: int) -> tuple[str | None, ...]:
        """Return the expected sha256 of each of `count` files on this machine; None where it is not known."""
        if (pin := self.pin) is not None and len(pin.files) == count:
            return tuple(file.sha256 for file in pin.files)
        if count == 1:
            return (self.build.sha256,)
        return self.build.part_sha256 or (None,) * count

    def sizes(self, count: int) -> tuple[int | None, ...]:
        """Return the expected bytes of each of `count` files on this machine; None where they are not known."""
        if (pin := self.pin) is not None and len(pin.files) == count:
            return tuple(file.size for file in pin.files)
        return (self.build.size,) if count == 1 else (None,) * count

    def locate(self) -> Location:
        """Return the location of the build's (first) file on this machine. Raises ManifestError."""
        return locate(self.locked, self.manifest.parent)

    def files(self, first: str) -> tuple[Path, ...]:
        """Return the paths of all files of the build, given that of the first; parts are in the same folder."""
        return tuple(map(Path, files_at(first)))


@dataclass(frozen=True)
class ManifestLayer:
    """One manifest with its path and its lockfile."""

    path: Path
    manifest: Manifest
    lock: Lock

    @classmethod
    def read(cls, path: Path, known: Container[str] = ()) -> "ManifestLayer":
        """Read a manifest and its lockfile. Raises ManifestError, which names the invalid file.

        `known` are the aliases of earlier layers, for which this one may have settings without builds.
        """
        return cls(path, load_manifest(path, known=known), read_lock(lock_path(path)))

    def entries(self) -> Iterator[RegistryEntry]:
        """Yield every build of this manifest."""
        for alias, model in self.manifest.models.items():
            for build in model.builds:
                yield RegistryEntry(alias, build, self.path, self.lock)


class Registry:
    """All builds of some manifests. Later `layers` override earlier ones. Raises ManifestError for ambiguous names."""

    def __init__(self, layers: Iterable[ManifestLayer]) -> None:
        self.layers = tuple(layers)
        merged = self.layers[0].manifest
        for layer in self.layers[1:]:
            refuse_ambiguity(layer, merged)
            merged = merge(merged, layer.manifest)
        owners = {entry.build.name: entry for layer in self.layers for entry in layer.entries()}
        self.models = merged.models
        """Models by alias, merged from all layers."""
        self.entries = tuple(
            RegistryEntry(alias, build, owners[build.name].manifest, owners[build.name].lock)
            for alias, model in merged.models.items()
            for build in model.builds
        )

    @classmethod
    def read(cls, named: Path | None = None) -> "Registry":
        """Read the named manifest alone, or the shipped one and the user's, if there is one. Raises ManifestError."""
        layers: list[ManifestLayer] = []
        for path in manifest_paths(named):
            layers.append(ManifestLayer.read(path, {alias for layer in layers for alias in layer.manifest.models}))
        return cls(layers)

    @property
    def manifest(self) -> Manifest:
        """All layers and lockfiles merged into one manifest, with absolute paths.

        Raises ManifestError when a manifest and its lockfile contradict each other.
        """
        builds: dict[str, list[Build]] = {alias: [] for alias in self.models}
        for entry in self.entries:
            builds[entry.alias].append(_absolute(entry.locked, entry.manifest.parent))
        models = {
            alias: model.model_copy(update={"builds": tuple(builds[alias])}) for alias, model in self.models.items()
        }
        return Manifest(version=1, models=models)

    def find(self, name: str) -> tuple[RegistryEntry, ...]:
        """Return the builds of an alias, `alias:variant` or full name, preferred ones first; at least one.

        Raises ConfigError for an unknown name.
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
        """Return the builds of all these names, each once; without names, every build. Raises ConfigError."""
        wanted = list(names)
        if not wanted:
            return self.entries
        return tuple({entry.build.name: entry for name in wanted for entry in self.find(name)}.values())


def manifest_paths(named: Path | None = None) -> list[Path]:
    """Return the paths of the manifests to read; later ones override earlier ones."""
    if named is not None:
        return [named]
    own = user_manifest_path()
    return [default_manifest_path(), *([own] if _stands(own) else [])]


def _stands(path: Path) -> bool:
    """Whether a path exists. An inaccessible one counts, so that reading it reports the error."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def user_manifest_path() -> Path:
    """Return the path of the user's own manifest, which may not exist."""
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".config"
    return base / "localrouter" / "model_manifest.toml"


def merge(base: Manifest, own: Manifest) -> Manifest:
    """Return two manifests merged into one; `own` overrides `base`.

    A build of `base` is dropped if `own` has its full name, and loses its variant if `own` has that.
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
                f"{layer.path}: models.{entry.alias}: the build {entry.build.name!r} has the name of a shipped alias",
                hint="choose another name for the build",
            )


def _merge_model(base: Model, builds: list[Build], own: Model | None) -> Model:
    if own is None:
        return base.model_copy(update={"builds": tuple(builds)})
    variants = {build.variant for build in own.builds}
    kept = [build.model_copy(update={"variant": None}) if build.variant in variants else build for build in builds]
    stronger = {key: value for key in own.model_fields_set if (value := getattr(own, key)) is not None}
    if own.sampling is not None:
        stronger["sampling"] = own.sampling.over(base.sampling)
    return base.model_copy(update=stronger | {"builds": (*own.builds, *kept)})


def _absolute(build: Build, base: Path) -> Build:
    written = {"path": build.path, "chat_template": build.chat_template}
    absolute = {key: str(expand(path, base.absolute())) for key, path in written.items() if path is not None}
    return build.model_copy(update=absolute) if absolute else build
