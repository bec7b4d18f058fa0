"""What `localrouter add` is given, as a build: a GGUF file of this machine, or `hf:REPO/FILE[@REV]`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from localrouter.errors import ConfigError
from localrouter.gguf.header import read_header
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.registry import Registry
from localrouter.weights.manifest.user_manifest import check_alias
from localrouter.weights.parts import parts

_HUB = re.compile(r"hf:(?P<repo>[^/@]+/[^/@]+)/(?P<file>[^@]+)(?:@(?P<revision>.+))?")
_PART = re.compile(r"-\d{5}-of-\d{5}$")
_COMMIT = re.compile("[0-9a-f]{40}")
_FORMS = "give a GGUF file, or a file of the hub as hf:OWNER/REPOSITORY/FILE.gguf, with @REVISION if need be"


@dataclass(frozen=True)
class Addition:
    """One build to add. `revision` is a branch or a tag that only the hub can turn into a commit; else None."""

    alias: str
    build: Build
    description: str
    revision: str | None = None


def addition(name: str, value: str, full_name: str | None = None) -> Addition:
    """Read ALIAS[:VARIANT] and the file. Raises ConfigError, or GgufError for a file that is none."""
    alias, colon, variant = name.partition(":")
    for each in (alias, variant) if colon else (alias,):
        check_alias(each)
    if value.startswith("hf:"):
        return _of_the_hub(alias, variant or None, value, full_name)
    return _of_this_machine(alias, variant or None, value, full_name)


def refuse_duplicate(new: Addition, registry: Registry) -> None:
    """Raise ConfigError when a name of the new build is in use."""
    full, variant = new.build.name, new.build.variant
    for entry in registry.entries:
        if full in {entry.build.name, entry.alias}:
            raise ConfigError(f"{full!r} is in use: {entry.manifest} has it", hint="give another full name with --name")
        if (entry.alias, entry.build.variant) == (new.alias, variant) and variant is not None:
            raise ConfigError(f"'{new.alias}:{variant}' is {entry.build.name} already", hint="choose another variant")
        if new.alias == entry.build.name:
            raise ConfigError(
                f"{new.alias!r} is the full name of a build of {entry.alias!r}", hint="choose another alias"
            )


def _of_the_hub(alias: str, variant: str | None, value: str, full_name: str | None) -> Addition:
    said = _HUB.fullmatch(value)
    if said is None:
        raise ConfigError(f"{value}: this is not of the form hf:OWNER/REPOSITORY/FILE[@REVISION]", hint=_FORMS)
    repo, file, revision = said["repo"], parts(said["file"])[0], said["revision"]
    pinned = revision if revision and _COMMIT.fullmatch(revision) else None
    keys = {"repo": repo, "file": file, "revision": pinned}
    build = _build(value, full_name or _stem(Path(file)), variant, keys)
    return Addition(alias, build, f"From {repo}.", None if pinned else revision)


def _of_this_machine(alias: str, variant: str | None, value: str, full_name: str | None) -> Addition:
    given = Path(os.path.abspath(os.path.expanduser(value)))
    path = given.with_name(parts(given.name)[0])
    for part in parts(path.name):
        if not path.with_name(part).is_file():
            raise ConfigError(f"{value}: there is no file {path.with_name(part)}", hint=_FORMS)
    header = read_header(path)
    build = _build(value, full_name or _stem(path), variant, {"path": str(path), "license": header.license or None})
    known = ", ".join(fact for fact in (header.architecture, header.file_type) if fact)
    return Addition(alias, build, f"A file of this machine ({known})." if known else "A file of this machine.")


def _build(value: str, name: str, variant: str | None, keys: dict[str, str | None]) -> Build:
    try:
        return Build.model_validate({"name": name, "variant": variant} | keys)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{value}: {where}: {first['msg'].removeprefix('Value error, ')}",
            hint="give another full name with --name" if where == "name" else _FORMS,
        ) from None


def _stem(path: Path) -> str:
    """The full name: that of the file, without its ending and the number of its part."""
    return _PART.sub("", path.stem if path.suffix.lower() == ".gguf" else path.name)
