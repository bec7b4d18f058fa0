"""Reading and writing of localrouter's TOML files: strict validation, errors with file, line and key, atomic writes."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from localrouter.errors import ManifestError
from localrouter.weights.manifest.toml_lines import KeyPath, TomlLines

Form = TypeVar("Form", bound=BaseModel)

_WORDINGS = {
    "extra_forbidden": "unknown key",
    "missing": "this key is missing",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be an array of tables",
}


class StrictTable(BaseModel):
    """Base of TOML tables: unknown keys are errors, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class TomlFile:
    """Text of a TOML file with its path. `hint` is added to every error; `words` are messages by key."""

    path: Path
    text: str
    hint: str
    words: Mapping[str, str] = field(default_factory=dict)

    def check(self, form: type[Form]) -> Form:
        """Return the document as a validated model. Raises ManifestError with file, line and key of the first error."""
        try:
            document = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            self._refuse_syntax(error)
        try:
            return form.model_validate(document)
        except ValidationError as error:
            self.refuse(self._mistakes(error, document))

    def refuse(self, mistakes: Mapping[KeyPath, str]) -> NoReturn:
        """Raise a ManifestError for the first of these errors, which must not be empty."""
        key, message = next(iter(mistakes.items()))
        others = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        line = TomlLines(self.text).line(key)
        raise ManifestError(f"{self.path}:{line}: {_dotted(key)}: {message}{others}", hint=self.hint) from None

    def _refuse_syntax(self, error: Exception) -> NoReturn:
        """Raise a ManifestError for invalid TOML; the line comes from tomllib's message, or is the last one."""
        said = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        line, what = (int(said[2]), said[1]) if said else (self.text.count("\n") + 1, str(error))
        raise ManifestError(f"{self.path}:{line}: this is not TOML: {what}", hint=self.hint) from None

    def _mistakes(self, error: ValidationError, document: object) -> dict[KeyPath, str]:
        """Return one message per key; a value that matches no member of a union counts as one error."""
        mistakes: dict[KeyPath, str] = {}
        for detail in error.errors(include_url=False, include_context=False):
            key = _key(detail["loc"], document)
            mistakes.setdefault(key, self._wording(detail, key))
        return mistakes

    def _wording(self, detail: ErrorDetails, key: KeyPath) -> str:
        about_the_value = detail["type"] not in {"missing", "extra_forbidden"}
        if about_the_value and key and key[-1] in self.words:
            return self.words[str(key[-1])]
        if detail["type"] in _WORDINGS:
            return _WORDINGS[detail["type"]]
        message = detail["msg"].removeprefix("Value error, ")
        return message[0].lower() + message[1:]


def read_text(path: Path, what: str, *, hint: str) -> str:
    """Return the text of a UTF-8 file. Raises ManifestError, which calls the file `what`; `hint` for a read error."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: the {what} cannot be read: {error.strerror}", hint=hint) from None
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}:{line}: this is not UTF-8", hint=f"save the {what} as UTF-8") from None


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically: a reader finds the old text or the new one, also after a crash.

    A link stays a link, and its target is replaced. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML, which differs from JSON's in one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _dotted(key: KeyPath) -> str:
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + part
    return text


def _key(location: KeyPath, document: object) -> KeyPath:
    """Return pydantic's location without trailing elements that are not in the document; a missing key is kept."""
    path: KeyPath = ()
    node = document
    for part in location:
        if isinstance(node, dict) and part != "[key]":
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part]
        else:
            break
        path = (*path, part)
    return path
