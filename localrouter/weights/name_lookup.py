"""Model names in the forms that clients send: as listed, in another case, with `:latest`, behind a provider's name."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from localrouter.errors import ModelNotFound

Meaning = TypeVar("Meaning")

LATEST = ":latest"
"""Tag that clients of Ollama add to every name."""


class NameLookup(Generic[Meaning]):
    """Finds the known name that a client means. `meanings` has the builds of each name, which are compared by `==`."""

    def __init__(self, meanings: Mapping[str, Meaning]) -> None:
        self._meanings = dict(meanings)
        self._folded: dict[str, list[str]] = {}
        for name in self._meanings:
            self._folded.setdefault(name.casefold(), []).append(name)

    def find(self, asked: str) -> str | None:
        """Return the known name for `asked`, or None. Raises ModelNotFound where the letter case decides between two.

        The first form that is known counts: the name itself, without `:latest`, without the provider before the first
        slash, without both. Of each form the exact spelling comes first, then one that differs in case alone.
        """
        for form in forms(asked):
            if form in self._meanings:
                return form
            if same := self._folded.get(form.casefold()):
                return self._only(asked, same)
        return None

    def _only(self, asked: str, names: list[str]) -> str:
        """Return the first of names that differ in case alone. Raises ModelNotFound where they mean several models."""
        first = names[0]
        if all(self._meanings[name] == self._meanings[first] for name in names):
            return first
        listed = " or ".join(map(repr, names))
        raise ModelNotFound(
            f"The model {asked!r} does not exist. Upper and lower case decide here: send {listed}.", param="model"
        )


def forms(asked: str) -> Iterator[str]:
    """Yield the name as it is, without `:latest`, without the provider before its first slash, and without both."""
    provider, _, behind = asked.partition("/")
    for name in (asked, behind if provider else ""):
        yield from filter(None, (name, _without_latest(name)))


def _without_latest(name: str) -> str:
    return name[: -len(LATEST)] if name.casefold().endswith(LATEST) else ""
