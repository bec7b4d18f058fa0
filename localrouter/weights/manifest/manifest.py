"""Model manifest: the builds of each alias, and the source of each build.

The manifest is written by hand, so it is validated strictly, and errors name file, line and key.
"""

import re
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, Field, StringConstraints, model_validator

import localrouter
from localrouter.config import Context, GpuLayers, TensorSplit
from localrouter.gguf.parts import parts
from localrouter.load_options import KvType, LoadOptions, Switch
from localrouter.schema.alias_defaults import AliasDefaults
from localrouter.weights.manifest.alias_sampling import AliasSampling
from localrouter.weights.manifest.model_shape import ManifestShape
from localrouter.weights.manifest.toml_file import StrictTable, TomlFile, read_text
from localrouter.weights.manifest.toml_lines import KeyPath

ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]*")

Source = Literal["asset", "path", "hub"]

_WORDS = {
    "version": "only version 1 of the format is supported",
    "gpu_layers": 'must be "auto", "all" or a number of layers',
    "tensor_split": "must be an array of numbers, not all of them 0, as [3, 1]",
}


def _like(pattern: str, description: str) -> AfterValidator:
    """Return a validator for a pattern, with a message that describes it instead of showing the expression."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {description}")
        return value

    return AfterValidator(check)


def _check_name(name: str) -> str:
    if not name.isprintable() or name != name.strip() or ":" in name or not 0 < len(name) <= 255:
        raise ValueError("a name is 1 to 255 printable characters, none of them a colon, no space at its ends")
    return name


def _check_file(file: str) -> str:
    path = PurePosixPath(file)
    if "\\" in file or path.is_absolute() or ".." in path.parts or file != str(path) or file == ".":
        raise ValueError("must be a plain relative path inside the repository, with forward slashes")
    return file


_PLAIN = r"[A-Za-z0-9](?:[._-]?[A-Za-z0-9_])*"
AliasName = Annotated[str, _like(ALIAS.pattern, f"of the form {ALIAS.pattern}")]
BuildName = Annotated[str, AfterValidator(_check_name)]
AssetName = Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the plain name of a file")]
Repo = Annotated[str, _like(rf"{_PLAIN}/{_PLAIN}", "OWNER/NAME, a repository of the Hugging Face hub")]
RepoFile = Annotated[str, AfterValidator(_check_file)]
Revision = Annotated[str, _like(r"[0-9a-f]{40}", "a commit: 40 hexadecimal digits in lower case")]
Sha256 = Annotated[str, _like(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case")]
Text = Annotated[str, StringConstraints(min_length=1)]


class Overrides(StrictTable):
    """Load options that an alias sets for its builds in place of the server's settings; None: not set."""

    context: Context | None = None
    gpu_layers: GpuLayers | None = None
    device: Text | None = None
    tensor_split: Annotated[TensorSplit, Field(strict=False)] | None = None
    require_gpu: bool | None = None
    extra_buffers: Switch | None = None
    kv_type: KvType | None = None
    flash_attention: Switch | None = None
    swa_full: Switch | None = None

    def replace_in(self, options: LoadOptions) -> LoadOptions:
        """Return `options` with those that this alias sets in place of their values."""
        return msgspec.structs.replace(options, **self.model_dump(exclude_none=True))


class Build(StrictTable):
    """One GGUF file, or all parts of a split one. Its source is exactly one of `asset`, `path` and `repo` with `file`;
    for a split GGUF, any part stands for all.
    """

    name: BuildName
    variant: AliasName | None = None
    asset: AssetName | None = None
    path: Text | None = None
    repo: Repo | None = None
    file: RepoFile | None = None
    revision: Revision | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    """Bytes of all parts together."""
    sha256: Sha256 | None = None
    part_sha256: Annotated[tuple[Sha256, ...], Field(strict=False)] | None = None
    """Digests of the parts of a split GGUF at `path`, in order. The lockfile has those of the hub."""
    license: Text | None = None
    chat_template: Text | None = None
    """File with the chat template to use instead of the GGUF's own; relative to the manifest, like `path`."""
    shape: ManifestShape | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Build":
        given = [key for key in ("asset", "path", "repo") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"has two sources, {given[0]} and {given[1]}; keep one")
        if not given:
            raise ValueError("has no source; set one of asset, path, or repo and file")
        if (self.repo is None) != (self.file is None):
            raise ValueError("repo and file must be set together")
        if self.revision is not None and self.repo is None:
            raise ValueError("revision needs repo and file")
        if self.sha256 is not None and len(parts(self.file or self.path or "")) > 1:
            raise ValueError("sha256 is the digest of one file; leave it out where the GGUF is split")
        self._check_part_digests()
        return self

    def _check_part_digests(self) -> None:
        if self.part_sha256 is None:
            return
        count = len(parts(self.path or ""))
        if self.path is None or count == 1:
            raise ValueError("part_sha256 needs the path of a split GGUF")
        if len(self.part_sha256) != count:
            raise ValueError(f"part_sha256 has {len(self.part_sha256)} digests for {count} parts")

    @property
    def source(self) -> Source:
        """Kind of source of this build: shipped asset, local path, or hub."""
        if self.repo is not None:
            return "hub"
        return "asset" if self.asset is not None else "path"


def _check_builds(builds: tuple[Build, ...]) -> tuple[Build, ...]:
    if not builds:
        raise ValueError("an alias needs at least one build")
    return builds


class Model(Overrides):
    """Model of one alias: its builds in order of preference, its settings, and its defaults for requests.

    `builds` is empty only in the user's manifest, for settings of an alias of the shipped one.
    """

    description: str = ""
    system: Text | None = None
    """System message of conversations that have none."""
    sampling: AliasSampling | None = None
    builds: Annotated[tuple[Build, ...], Field(strict=False), AfterValidator(_check_builds)] = ()

    @property
    def overrides(self) -> Overrides:
        """Settings of this alias without its builds."""
        return Overrides(**{name: getattr(self, name) for name in Overrides.model_fields})

    def defaults(self, *, recommended: bool = False) -> AliasDefaults:
        """Return the defaults for requests; with `recommended`, sampling parameters that are not enabled too."""
        used = self.sampling is not None and (self.sampling.enabled or recommended)
        return AliasDefaults(tuple(self.sampling.values.items()) if self.sampling and used else (), self.system)


class Manifest(StrictTable):
    """Contents of a manifest; `models` has the order of the file."""

    version: Annotated[int, Field(ge=1, le=1)]
    models: dict[AliasName, Model]


def default_manifest_path() -> Path:
    """Return the path of the shipped manifest: in the installed package, or at the top of a checkout."""
    package = Path(localrouter.__file__).parent
    packaged, checkout = package / "model_manifest.toml", package.parent / "model_manifest.toml"
    return checkout if checkout.is_file() and not packaged.is_file() else packaged


def load_manifest(path: Path, *, known: Container[str] | None = ()) -> Manifest:
    """Read and validate a manifest. Raises ManifestError, whose message names file, line and key.

    `known` are the aliases that may have settings without builds, because another manifest has their builds;
    None: all of them.
    """
    text = read_text(path, "model manifest", hint="pass another with --manifest FILE")
    file = TomlFile(path, text, hint="docs/models.md describes every key", words=_WORDS)
    manifest = file.check(Manifest)
    if conflicts := dict([*_without_builds(manifest, known), *_conflicts(manifest)]):
        file.refuse(conflicts)
    return manifest


def _without_builds(manifest: Manifest, known: Container[str] | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield the aliases without builds that are not `known`, with a message for each."""
    for alias, model in manifest.models.items():
        if not model.builds and known is not None and alias not in known:
            yield ("models", alias, "builds"), "this key is missing"


def _conflicts(manifest: Manifest) -> Iterator[tuple[KeyPath, str]]:
    """Yield the keys of ambiguous names, with a message for each."""
    owners: dict[str, str] = {}
    for alias, model in manifest.models.items():
        variants: set[str] = set()
        for index, build in enumerate(model.builds):
            key: KeyPath = ("models", alias, "builds", index)
            if build.name in owners:
                yield (*key, "name"), f"{build.name!r} is already the name of a build of {owners[build.name]!r}"
            if build.variant is not None and build.variant in variants:
                yield (*key, "variant"), f"{build.variant!r} is already a variant of {alias!r}"
            owners.setdefault(build.name, alias)
            variants.add(build.variant or "")
    for alias, model in manifest.models.items():
        if alias in owners and [build.name for build in model.builds] != [alias]:  # else both mean the one build
            yield ("models", alias), f"this alias is also the full name of a build of {owners[alias]!r}"
