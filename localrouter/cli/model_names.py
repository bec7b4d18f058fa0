"""Model names that each argument of the command line accepts, for shell completion.

Reads manifests and the disk only: neither the Hugging Face library is imported nor a connection opened.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from localrouter.gguf.parts import parts
from localrouter.weights.build_location import ASSETS, expand
from localrouter.weights.registry import Registry, RegistryEntry, user_manifest_path


def every(manifest: Path | None = None) -> list[str]:
    """Return all model names: aliases, then `alias:variant`, then full names. Raises ManifestError."""
    return _names(Registry.read(manifest).entries)


def aliases(manifest: Path | None = None) -> list[str]:
    """Return the aliases. Raises ManifestError."""
    return list(Registry.read(manifest).models)


def of_the_hub(manifest: Path | None = None) -> list[str]:
    """Return the names of builds that can be downloaded and locked. Raises ManifestError."""
    return _names(entry for entry in Registry.read(manifest).entries if entry.build.source == "hub")


def on_disk(manifest: Path | None = None) -> list[str]:
    """Return the names of builds whose (first) file is on this machine, damaged or not. Raises ManifestError."""
    return _names(filter(_is_here, Registry.read(manifest).entries))


def removable(manifest: Path | None = None) -> list[str]:
    """Return the names of builds that were downloaded or added by the user. Raises ManifestError."""
    return _names(filter(_can_be_removed, Registry.read(manifest).entries))


def hub_cache() -> Path:
    """Return the cache directory of huggingface_hub, computed by the rules of `huggingface_hub.constants`."""
    variable = os.environ.get
    home = variable("HF_HOME", os.path.join(variable("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    cache = variable("HF_HUB_CACHE", variable("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub")))
    return Path(os.path.expandvars(os.path.expanduser(cache)))


def _names(entries: Iterable[RegistryEntry]) -> list[str]:
    found = list(entries)
    variants = (f"{entry.alias}:{entry.build.variant}" for entry in found if entry.build.variant)
    return list(dict.fromkeys([*(entry.alias for entry in found), *variants, *(entry.build.name for entry in found)]))


def _can_be_removed(entry: RegistryEntry) -> bool:
    downloaded = entry.build.source == "hub" and _is_here(entry)
    return downloaded or entry.manifest == user_manifest_path()


def _is_here(entry: RegistryEntry) -> bool:
    return any(path.is_file() for path in _places(entry))


def _places(entry: RegistryEntry) -> Iterator[Path]:
    build = entry.locked
    if build.asset is not None:
        yield ASSETS / build.asset
    elif build.path is not None:
        yield expand(build.path, entry.manifest.parent)
    elif build.repo is not None and build.file is not None:
        snapshots = hub_cache() / f"models--{build.repo.replace('/', '--')}" / "snapshots"
        commits = [build.revision] if build.revision else _listed(snapshots)
        yield from (snapshots / commit / parts(build.file)[0] for commit in commits)


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
