"""Parts of a schema that are wrong or that no grammar can hold, before each is an error or is not enforced."""

from localrouter.chat.grammar.references import Steps
from localrouter.errors import InvalidRequest
from localrouter.schema.explain import NotEnforced

MAX_LISTED = 100
"""Parts of one schema that are listed as not enforced."""
MAX_TEXT = 400
"""Characters of a listed path and of its reason, both of which quote the request."""


class SchemaFault(Exception):
    """The part of a schema at the path `steps` is wrong (`invalid_schema`) or cannot be enforced."""

    def __init__(self, message: str, steps: Steps = (), reason: str = "invalid_schema") -> None:
        super().__init__(message)
        self.message = message
        self.steps = steps
        self.reason = reason

    def refused(self, param: str) -> InvalidRequest:
        """Return the error for a request whose schema is at `param`."""
        where = place(param, self.steps)
        return InvalidRequest(f"Invalid schema at '{where}': {self.message}", param=where, code=self.reason)


class SchemaTooLarge(SchemaFault):
    """The schema exceeds a limit of its size, so that nothing of it is enforced."""


class UnspellableName(SchemaFault):
    """A syntax of tool calls cannot spell the name of a property."""


def unsupported(message: str, steps: Steps = ()) -> SchemaFault:
    """Return the fault of a part that is right and cannot be enforced."""
    return SchemaFault(message, steps, "unsupported_schema")


def place(param: str, steps: Steps) -> str:
    """Return the place of a part of a schema in OpenAI's form: `a.b[0].c`."""
    return param + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


class Gaps:
    """The parts of one schema that are not enforced, each path once. `param` is the place of the schema."""

    def __init__(self, param: str) -> None:
        self._param = param
        self._messages: dict[Steps, str] = {}

    def add(self, fault: SchemaFault) -> None:
        """Note that the part with this fault is not enforced. Parts beyond MAX_LISTED are counted as one."""
        if len(self._messages) <= MAX_LISTED:
            self._messages.setdefault(fault.steps, fault.message)

    @property
    def listed(self) -> tuple[NotEnforced, ...]:
        """The parts in the order in which they were found."""
        parts = list(self._messages.items())
        listed = [NotEnforced(_cut(place(self._param, steps)), _cut(why)) for steps, why in parts[:MAX_LISTED]]
        if len(parts) > MAX_LISTED:
            listed.append(NotEnforced(self._param, f"More than {MAX_LISTED} parts of it are not enforced."))
        return tuple(listed)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
