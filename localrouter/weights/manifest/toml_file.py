"""TOML files of ours: read strictly against a model, with every mistake named by file, line and key; written whole."""

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
    """Unknown keys are an error and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class TomlFile:
    """A text of TOML and where it came from. `hint` follows every mistake in it; `words` are for keys by name."""

    path: Path
    text: str
    hint: str
    words: Mapping[str, str] = field(default_factory=dict)

    def check(self, form: type[Form]) -> Form:
        """The document, checked against a model. Raises ManifestError for the first mistake, with file, line, key."""
        try:
            document = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            self._refuse_syntax(error)
        try:
            return form.model_validate(document)
        except ValidationError as error:
            self.refuse(self._mistakes(error, document))

    def refuse(self, mistakes: Mapping[KeyPath, str]) -> NoReturn:
        """Raise a ManifestError for the first of these mistakes; there is at least one."""
        key, message = next(iter(mistakes.items()))
        others = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        line = TomlLines(self.text).line(key)
        raise ManifestError(f"{self.path}:{line}: {_dotted(key)}: {message}{others}", hint=self.hint) from None

    def _refuse_syntax(self, error: Exception) -> NoReturn:
        """`tomllib` says the line only inside its message, and for a text that ends too early not at all."""
        said = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        line, what = (int(said[2]), said[1]) if said else (self.text.count("\n") + 1, str(error))
        raise ManifestError(f"{self.path}:{line}: this is not TOML: {what}", hint=self.hint) from None

    def _mistakes(self, error: ValidationError, document: object) -> dict[KeyPath, str]:
        """One message per key; a value that fits no member of a union is one mistake, not one per member."""
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
    """The text of a file in UTF-8. Raises ManifestError, which calls the file `what`; `hint`: if it is not there."""
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
    """Replace a file in one step: a reader, and whoever comes after a crash, finds the old text or the new one.

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
    """A text as a basic string of TOML; JSON's differs from it in one character."""
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
    """Pydantic's location, cut where it goes on with something that is not in the document; a missing key is."""
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
