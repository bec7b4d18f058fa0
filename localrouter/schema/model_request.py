"""Base of the bodies of requests to a model: the model's name, and the paths of fields in the client's body."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PrivateAttr, StringConstraints

from localrouter.schema.field_kinds import MAX_TOKENS, Integer, Strict

ModelName = Annotated[str, StringConstraints(max_length=512)]
"""Name of a model as a client sends it; an empty name is the same as omitting it."""
MODEL_NAME = "alias or full name; may be left out where one model is served, or with `--default-model`"
"""Description of the field `model` for the tables of docs/api.md."""


class ModelRequest(Strict):
    """Fields of every request to a model."""

    model: ModelName | None = Field(None, description=MODEL_NAME)
    ttl: Annotated[Integer, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: seconds without a request after which the model may leave memory"
    )

    _taken_out: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def note_foreign_fields(self, taken_out: Mapping[str, str], sources: Mapping[str, str]) -> None:
        """Keep what became of the foreign fields, which the request itself does not have.

        `taken_out` has the paths of those without effect, each with the reason, and `sources` for each of our fields
        that a foreign one has set the path of the foreign one.
        """
        self._taken_out, self._sources = taken_out, sources

    def as_sent(self, path: str) -> str:
        """Return the path in the body of what stands at a path in the request: they differ for foreign fields."""
        for field in sorted(self._sources, key=len, reverse=True):
            for prefix in (f"{field}.json_schema.schema", field):
                rest = path.removeprefix(prefix)
                if path.startswith(prefix) and rest[:1] in ("", ".", "["):
                    return self._sources[field] + rest
        return path

    def without_effect(self) -> Mapping[str, str]:
        """Return the foreign fields of the body that have no effect, each with the reason."""
        return self._taken_out
