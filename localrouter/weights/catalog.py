"""Catalog of models: builds of the manifests and files of `--model`, with their current state on disk."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from localrouter.errors import ConfigError
from localrouter.memory.fit import USEFUL_CELLS, FitChoice, choose
from localrouter.memory.machine import Machine, this_machine
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.weights.build_location import Damaged, Found, Location, Missing, locate
from localrouter.weights.build_shapes import ShapeCache, Stamp, stamp
from localrouter.weights.extra_models import Echo, Origin, check_entry
from localrouter.weights.manifest.manifest import Build, Manifest, Model, Overrides
from localrouter.weights.missing_model import not_downloaded, not_found
from localrouter.weights.name_lookup import NameLookup
from localrouter.weights.registry import Registry


@dataclass(frozen=True)
class ResolvedModel:
    """Build that a name resolves to. `path` is a file, or for the echo backend its options as a query string."""

    alias: str
    model: str
    """The full name of the build."""
    backend: Literal["llama", "echo"]
    path: str
    license: str | None
    size: int
    """Bytes of the file; 0 for the echo backend."""
    description: str
    overrides: Overrides
    chat_template: str | None = None
    """File with the chat template to use instead of the GGUF's own."""
    reason: str = ""
    """Why this build was chosen, where the name has several."""


class BuildState(StrEnum):
    """State of a build on disk."""

    ON_DISK = "on_disk"
    NOT_DOWNLOADED = "not_downloaded"
    MISSING = "missing"
    """A local file that does not exist, and cannot be downloaded."""
    WRONG_SIZE = "wrong_size"


@dataclass(frozen=True)
class BuildStatus:
    """One build and its state on this machine. `size` is that of the file, else of the manifest, else None.

    `path` is the file to load, the first of a split build; None if it cannot be loaded. `chat_template` is the template
    file that the manifest names.
    """

    model: str
    variant: str | None
    source: Literal["asset", "path", "hub", "echo"]
    state: BuildState
    size: int | None
    license: str | None
    path: str | None = None
    chat_template: str | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """One alias with its builds in the manifest's order. `choice` has the chosen index; None: no build is on disk."""

    alias: str
    description: str
    overrides: Overrides
    builds: tuple[BuildStatus, ...]
    choice: FitChoice | None = None

    @property
    def chosen(self) -> BuildStatus | None:
        """Build that the alias resolves to; None when no build is on disk."""
        return None if self.choice is None else self.builds[self.choice.index]


@dataclass(frozen=True)
class KnownName:
    """A name of the catalog: an alias, `alias:variant` or a full name, with the defaults that its alias sets."""

    name: str
    defaults: AliasDefaults


@dataclass(frozen=True)
class _Group:
    alias: str
    description: str
    overrides: Overrides
    origins: tuple[Origin, ...]
    defaults: AliasDefaults = NO_DEFAULTS


@dataclass(frozen=True)
class _Meaning:
    """Builds that a name stands for: some or all builds of an alias."""

    group: _Group
    origins: tuple[Origin, ...]


class Catalog:
    """Resolver of model names. The disk is read at every call, so that new files are found without a restart.

    Of several builds on disk the largest that fits `machine` is chosen. The machine is read once, and its idle memory
    is used, so that loading the chosen model does not change the choice.

    `extra` are `--model` entries; each adds an alias or replaces one of the manifest, and its full name takes
    precedence over the manifest's. `recommended_sampling` enables the `sampling` of all aliases. Raises ConfigError
    when an entry is invalid or a name is ambiguous.
    """

    def __init__(
        self,
        manifest: Manifest,
        manifest_dir: Path,
        extra: Mapping[str, str] = MappingProxyType({}),
        *,
        machine: Callable[[], Machine] = this_machine,
        recommended_sampling: bool = False,
    ) -> None:
        self._manifest_dir = manifest_dir.absolute()
        self._chooser = _Chooser(machine)
        given = {alias: _given(alias, value) for alias, value in extra.items()}
        listed = {
            alias: _listed(alias, model, model.defaults(recommended=recommended_sampling))
            for alias, model in manifest.models.items()
            if alias not in given
        }
        order = [*manifest.models, *(alias for alias in given if alias not in manifest.models)]
        self._groups = {alias: given.get(alias) or listed[alias] for alias in order}
        self._names = _names(self._groups.values(), _full_names(given.values(), listed.values()))
        self._lookup = NameLookup({name: meaning.origins for name, meaning in self._names.items()})

    @classmethod
    def read(
        cls,
        manifest: Path | None = None,
        extra: Mapping[str, str] = MappingProxyType({}),
        *,
        machine: Callable[[], Machine] = this_machine,
        recommended_sampling: bool = False,
    ) -> "Catalog":
        """Return the catalog of a manifest file; default: the shipped manifest and the user's own."""
        merged = Registry.read(manifest).manifest
        return cls(merged, Path(), extra, machine=machine, recommended_sampling=recommended_sampling)

    def resolve(self, name: str) -> ResolvedModel:
        """Return the build that an alias, `alias:variant` or full name resolves to, in any form that `find` accepts.

        Raises ModelNotFound for an unknown name, ModelNotDownloaded when no build of the name is on disk.
        """
        meaning = self._names[name := self.find(name).name]
        looked = [(origin, self._look(origin)) for origin in meaning.origins]
        found = [(origin, location) for origin, location in looked if isinstance(location, Found)]
        if not found:
            raise not_downloaded(name, [(origin, each) for origin, each in looked if isinstance(origin, Build)])
        choice = self._chooser.choose(meaning.group.overrides, [location for _, location in found])
        reason = choice.reason if len(meaning.origins) > 1 else ""
        return _resolved(meaning.group, *found[choice.index], reason)

    def find(self, name: str) -> KnownName:
        """Return the known name that a client means: exact, in another case, with `:latest`, or behind `PROVIDER/`.

        The disk is not read. Raises ModelNotFound for an unknown name.
        """
        if (known := self._lookup.find(name)) is None:
            raise not_found(name, list(self._groups), list(self._names))
        return KnownName(known, self._names[known].group.defaults)

    def entries(self) -> list[CatalogEntry]:
        """Return every alias with the state of its builds, in the manifest's order; `--model` entries are last."""
        return [self._entry(group) for group in self._groups.values()]

    def _entry(self, group: _Group) -> CatalogEntry:
        looked = [(origin, self._look(origin)) for origin in group.origins]
        builds = tuple(_status(origin, location) for origin, location in looked)
        found = [(index, place) for index, (_, place) in enumerate(looked) if isinstance(place, Found)]
        choice = None
        if found:
            choice = self._chooser.choose(group.overrides, [place for _, place in found])
            choice = replace(choice, index=found[choice.index][0])
        return CatalogEntry(group.alias, group.description, group.overrides, builds, choice)

    def _look(self, origin: Origin) -> Location:
        return Found(origin.query, 0) if isinstance(origin, Echo) else locate(origin, self._manifest_dir)


class _Chooser:
    """Chooser among builds on disk, with a cache of their shapes and of earlier choices."""

    def __init__(self, machine: Callable[[], Machine]) -> None:
        self._look_at_machine = machine
        self._machine: Machine | None = None
        self._shapes = ShapeCache()
        self._choices: dict[tuple[int, tuple[Stamp, ...]], FitChoice] = {}

    def choose(self, overrides: Overrides, found: Sequence[Found]) -> FitChoice:
        """Return the choice, an index of `found`, which must not be empty."""
        if len(found) == 1:
            return FitChoice(0, "the only build on disk")
        cells = overrides.context or USEFUL_CELLS
        key = (cells, tuple(stamp(each) for each in found))
        known = self._choices.get(key)
        if known is None:
            if self._machine is None:
                self._machine = self._look_at_machine().idle
            known = choose([self._shapes.shape(each) for each in found], self._machine, cells)
            self._choices[key] = known
        return known


def _listed(alias: str, model: Model, defaults: AliasDefaults) -> _Group:
    return _Group(alias, model.description, model.overrides, model.builds, defaults)


def _given(alias: str, value: str) -> _Group:
    extra = check_entry(alias, value)
    return _Group(alias, extra.description, Overrides(), (extra.origin,))


def _full_names(given: Iterable[_Group], listed: Iterable[_Group]) -> dict[str, _Meaning]:
    """Return builds by full name; files of `--model` override builds of the manifest. Raises ConfigError."""
    own: dict[str, _Meaning] = {}
    for name, meaning in _by_full_name(given):
        if own.setdefault(name, meaning).origins != meaning.origins:
            raise ConfigError(
                f"--model: the files of {own[name].group.alias!r} and {meaning.group.alias!r} are both called {name!r}",
                hint="rename one of the files: the file name is the model name in responses",
            )
    return dict(_by_full_name(listed)) | own


def _by_full_name(groups: Iterable[_Group]) -> Iterator[tuple[str, _Meaning]]:
    for group in groups:
        for origin in group.origins:
            yield origin.name, _Meaning(group, (origin,))


def _names(groups: Iterable[_Group], full: dict[str, _Meaning]) -> dict[str, _Meaning]:
    """Return all valid values of a request's `model`: aliases, then `alias:variant`, then full names."""
    names: dict[str, _Meaning] = {}
    variants: dict[str, _Meaning] = {}
    for group in groups:
        names[group.alias] = meaning = _Meaning(group, group.origins)
        if full.get(group.alias, meaning).origins != meaning.origins:
            raise ConfigError(
                f"--model: {group.alias!r} is an alias and also the full name of {full[group.alias].group.alias!r}",
                hint="choose another alias, or rename the file",
            )
        for origin in group.origins:
            if isinstance(origin, Build) and origin.variant is not None:
                variants[f"{group.alias}:{origin.variant}"] = _Meaning(group, (origin,))
    return names | variants | {name: meaning for name, meaning in full.items() if name not in names}


def _resolved(group: _Group, origin: Origin, found: Found, reason: str) -> ResolvedModel:
    return ResolvedModel(
        alias=group.alias,
        model=origin.name,
        backend="echo" if isinstance(origin, Echo) else "llama",
        path=found.path,
        license=None if isinstance(origin, Echo) else origin.license,
        size=found.size,
        description=group.description,
        overrides=group.overrides,
        chat_template=None if isinstance(origin, Echo) else origin.chat_template,
        reason=reason,
    )


def _status(origin: Origin, location: Location) -> BuildStatus:
    if isinstance(origin, Echo):
        return BuildStatus(origin.name, None, "echo", BuildState.ON_DISK, None, None)
    size: int | None = origin.size if isinstance(location, Missing) else location.size
    path = location.path if isinstance(location, Found) else None
    state = _state(origin, location)
    return BuildStatus(
        origin.name, origin.variant, origin.source, state, size, origin.license, path, origin.chat_template
    )


def _state(build: Build, location: Location) -> BuildState:
    match location:
        case Found():
            return BuildState.ON_DISK
        case Damaged():
            return BuildState.WRONG_SIZE
    return BuildState.NOT_DOWNLOADED if build.source == "hub" else BuildState.MISSING
