"""Defaults that an alias of the model manifest sets for requests: sampling parameters and a system message."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

Request = TypeVar("Request", bound=BaseModel)


@dataclass(frozen=True)
class AliasDefaults:
    """Values for fields that a request leaves out. Without values, OpenAI's defaults are in effect."""

    sampling: tuple[tuple[str, float], ...] = ()
    """Names of request fields, each with its default."""
    system: str | None = None
    """System message of conversations that have none."""

    def absent_in(self, request: BaseModel) -> dict[str, float]:
        """Return the sampling parameters that the request leaves out, or sets to null."""
        return {name: value for name, value in self.sampling if getattr(request, name) is None}

    def complete(self, request: Request) -> Request:
        """Return the request with the sampling parameters that it leaves out."""
        absent = self.absent_in(request)
        return request.model_copy(update=absent) if absent else request


NO_DEFAULTS = AliasDefaults()
