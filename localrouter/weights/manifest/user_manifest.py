"""Edits of a manifest that the user maintains: builds are added, replaced and removed without changing other text."""

import tomllib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from localrouter.errors import ConfigError, ManifestError
from localrouter.weights.manifest.manifest import AliasName, Build, Manifest, load_manifest
from localrouter.weights.manifest.toml_file import quoted, read_text, write_text
from localrouter.weights.manifest.toml_lines import KeyPath, TomlLines

_NEW = """\
# Models of your own, beside those that come with localrouter. `localrouter add` appends here; edit it as you like.
# The format is in docs/models.md.

version = 1

[models]
"""
_ORDER = ("name", "variant", "path", "repo", "file", "revision", "size", "sha256", "part_sha256", "license")


def add_build(path: Path, alias: str, build: Build, description: str = "") -> None:
    """Append a build to the manifest at `path`, which is created if missing. `description` is used for a new alias.

    Raises ManifestError when the manifest is invalid, before or after the change, or cannot be written.
    """
    text = _read(path)
    known = load_manifest(path, known=None).models if path.exists() else {}
    added = render_build(alias, build)
    if alias not in known and description:
        added = f"\n[models.{_key(alias)}]\ndescription = {quoted(description)}\n{added}"
    new = text + ("" if text.endswith("\n") else "\n") + added
    try:
        tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        line = TomlLines(text).line(("models", alias, "builds"))
        raise ManifestError(
            f"{path}:{line}: models.{alias}.builds: cannot append to builds that are written as an inline array",
            hint=f"write them as [[models.{alias}.builds]] tables, or add this build by hand",
        ) from None
    _replace(path, text, new)


def replace_build(path: Path, build: Build) -> None:
    """Replace the build with the full name of `build`; its position in the file and comments are kept.

    Raises ManifestError when the file must be edited by hand.
    """
    text, before = _read(path), load_manifest(path, known=None)
    alias, index = _place(before, build.name)
    here: KeyPath = ("models", alias, "builds", index)
    new = _with_keys(text, here, before.models[alias].builds[index], build)
    builds = tuple(build if each.name == build.name else each for each in before.models[alias].builds)
    if not _says(new, before, alias, builds):
        raise ManifestError(
            f"{path}:{TomlLines(text).line(here)}: models.{alias}: {build.name!r} cannot be changed automatically",
            hint="edit the file by hand: only builds written as tables can be changed",
        )
    _replace(path, text, new)


def remove_build(path: Path, name: str) -> None:
    """Remove the build of this full name from the manifest at `path`, and its alias if no build is left.

    Comments are kept, also those above the build. Raises ManifestError when the file must be edited by hand.
    """
    text, before = _read(path), load_manifest(path, known=None)
    alias, index = _place(before, name)
    last = len(before.models[alias].builds) == 1
    gone: KeyPath = ("models", alias) if last else ("models", alias, "builds", index)
    new = _without(text, gone)
    if not _says(new, before, alias, tuple(build for build in before.models[alias].builds if build.name != name)):
        raise ManifestError(
            f"{path}:{TomlLines(text).line(gone)}: models.{alias}: {name!r} cannot be removed automatically",
            hint="edit the file by hand: only builds written as tables can be removed",
        )
    _replace(path, text, new if "models" in tomllib.loads(new) else new + "\n[models]\n")


def render_build(alias: str, build: Build) -> str:
    """Return the text of a build as a table of a manifest."""
    lines = ["", f"[[models.{_key(alias)}.builds]]"]
    for key in _ORDER:
        value = getattr(build, key)
        if value is not None:
            lines.append(f"{key} = {_rendered(value)}")
    return "\n".join(lines) + "\n"


def _place(manifest: Manifest, name: str) -> tuple[str, int]:
    """Return the alias and the index of the build with this full name."""
    return next(
        (alias, index)
        for alias, model in manifest.models.items()
        for index, build in enumerate(model.builds)
        if build.name == name
    )


def _rendered(value: str | int | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + "".join(f"\n  {quoted(each)}," for each in value) + "\n]"
    return quoted(value) if isinstance(value, str) else f"{value:_}"


def check_alias(alias: str) -> None:
    """Raise ConfigError when `alias` is not a valid name of an alias or a variant."""
    try:
        TypeAdapter(AliasName).validate_python(alias)
    except ValidationError:
        raise ConfigError(
            f"{alias!r} is not a valid name",
            hint="use a-z, 0-9, dot, underscore and hyphen; start with a letter or digit",
        ) from None


def _read(path: Path) -> str:
    return read_text(path, "model manifest", hint="is it a file?") if path.exists() else _NEW


def _replace(path: Path, old: str, new: str) -> None:
    """Write the new text, and restore the old one if the new one is not a valid manifest."""
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, new)
        try:
            load_manifest(path, known=None)
        except ManifestError:
            if existed:
                write_text(path, old)
            else:
                path.unlink()
            raise
    except OSError as error:
        raise ManifestError(
            f"{path}: the model manifest cannot be written: {error.strerror}",
            hint="check the permissions of its folder, or select another with XDG_CONFIG_HOME or --manifest",
        ) from None


def _without(text: str, gone: KeyPath) -> str:
    """Return the text without the tables at this path and below; comments and blank lines after a table are kept."""
    lines = text.split("\n")
    headers = TomlLines(text).headers
    starts = [*headers, len(lines) + 1]
    kept = list(lines)
    for (start, path), stop in reversed([*zip(headers.items(), starts[1:], strict=True)]):
        if path[: len(gone)] == gone:
            end = stop - 1
            while end > start and _is_filling(lines[end - 1]):
                end -= 1
            first = start - 2 if start > 1 and not lines[start - 2].strip() else start - 1
            del kept[first:end]
    return "\n".join(kept).rstrip("\n") + "\n"


def _is_filling(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _with_keys(text: str, table: KeyPath, old: Build, new: Build) -> str:
    """Return the text with the changed keys of a build; new keys are inserted after `path`."""
    lines, at = text.split("\n"), TomlLines(text)
    edits: list[tuple[int, int, list[str]]] = []
    for key in reversed(_ORDER):  # keys inserted at the same line end up in this order
        before, value = getattr(old, key), getattr(new, key)
        if before != value:
            start = at.line((*table, "path" if before is None else key)) - (before is not None)
            stop = start if before is None else _end(lines, start)
            edits.append((start, stop, [] if value is None else f"{key} = {_rendered(value)}".split("\n")))
    for start, stop, rendered in sorted(edits, key=lambda edit: edit[0], reverse=True):
        lines[start:stop] = rendered
    return "\n".join(lines)


def _end(lines: list[str], start: int) -> int:
    """Return the line after the end of a value; a multi-line array ends with a bracket on its own line."""
    end = start + 1
    if lines[start].rstrip().endswith("["):
        while end < len(lines) and lines[end].strip() != "]":
            end += 1
        end += 1
    return end


def _says(new: str, before: Manifest, alias: str, builds: tuple[Build, ...]) -> bool:
    """Whether the new text equals the old manifest except for the builds of the alias."""
    try:
        document = tomllib.loads(new)
        document.setdefault("models", {})
        after = Manifest.model_validate(document)
    except (tomllib.TOMLDecodeError, ValidationError):
        return False
    models = dict(before.models)
    models[alias] = models[alias].model_copy(update={"builds": builds})
    return after.models == {each: model for each, model in models.items() if model.builds or each != alias}


def _key(alias: str) -> str:
    return quoted(alias) if "." in alias else alias
