"""Models of the `--model` option: `NAME=FILE.gguf`, `NAME=builtin:echo` or `NAME=builtin:demo`."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from localrouter.errors import ConfigError
from localrouter.gguf.header import GgufError, GgufHeader, read_header
from localrouter.weights.build_location import Found, locate
from localrouter.weights.manifest.manifest import ALIAS, Build, default_manifest_path, load_manifest

_HINT = "pass --model NAME=FILE.gguf, NAME=builtin:demo or NAME=builtin:echo"


@dataclass(frozen=True)
class Echo:
    """Echo backend without weights. Its options are part of its name, so different options give different models."""

    query: str

    @property
    def name(self) -> str:
        """Full name in responses."""
        return "localrouter-echo" + ("?" + self.query if self.query else "")


Origin: TypeAlias = Build | Echo
"""Source that a model is loaded from."""


@dataclass(frozen=True)
class ExtraModel:
    """One validated `--model` entry."""

    alias: str
    description: str
    origin: Origin


def split_entries(entries: Iterable[str]) -> dict[str, str]:
    """Return `NAME=VALUE` entries as a mapping. Raises ConfigError for another form, and for a repeated name."""
    extra: dict[str, str] = {}
    for entry in entries:
        alias, equals, value = entry.partition("=")
        if not (alias and equals and value):
            raise ConfigError(f"--model {entry}: not of the form NAME=FILE", hint=_HINT)
        if alias in extra:
            raise ConfigError(f"--model {entry}: {alias!r} is already in use", hint="pass each name once")
        extra[alias] = value
    return extra


def check_entry(alias: str, value: str) -> ExtraModel:
    """Return the validated `--model` entry. Raises ConfigError when the alias or the file cannot be used."""
    if not ALIAS.fullmatch(alias):
        raise ConfigError(f"--model {alias}={value}: a name must be of the form {ALIAS.pattern}", hint=_HINT)
    if value.startswith("builtin:"):
        return _builtin(alias, value)
    path = Path(os.path.abspath(os.path.expanduser(value)))
    if not path.is_file():
        raise ConfigError(f"--model {alias}={value}: there is no such file", hint=_HINT)
    try:
        header = read_header(path)
        build = Build(name=_full_name(path), path=str(path), license=header.license or None)
    except GgufError as error:
        raise ConfigError(f"--model {alias}: {error.message}", hint=error.hint) from None
    except ValidationError:
        raise ConfigError(
            f"--model {alias}={value}: the file name is not valid as a model name",
            hint="rename the file: printable characters, no colon",
        ) from None
    return ExtraModel(alias, _describe(header), build)


def demo() -> Build:
    """Return the build of the embedded demo model from the shipped manifest. Raises ManifestError."""
    return load_manifest(default_manifest_path()).models["demo"].builds[0]


def _builtin(alias: str, value: str) -> ExtraModel:
    kind, _, query = value.removeprefix("builtin:").partition("?")
    if kind == "echo" and query.isprintable():
        return ExtraModel(alias, "Answers with the user's last message; it has no weights.", Echo(query))
    if kind != "demo" or query:
        raise ConfigError(f"--model {alias}={value}: there is no such builtin model", hint=_HINT)
    build = demo()
    if not isinstance(locate(build, Path()), Found):
        raise ConfigError(
            f"--model {alias}={value}: the demo model is missing from this installation, or damaged",
            hint="install localrouter again",
        )
    return ExtraModel(alias, "The tiny demo model of localrouter.", build)


def _full_name(path: Path) -> str:
    return path.stem if path.suffix.lower() == ".gguf" else path.name


def _describe(header: GgufHeader) -> str:
    facts = [fact for fact in (header.architecture, header.file_type) if fact]
    return f"A file of this machine ({', '.join(facts)})." if facts else "A file of this machine."
