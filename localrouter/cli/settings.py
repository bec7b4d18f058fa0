"""Settings as a command line and the environment give them, and what is wrong with them in words."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from localrouter.errors import ConfigError

Form = TypeVar("Form", bound=BaseSettings)


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"LOCALROUTER_{name.upper()}"


def option_of(name: str) -> str:
    """The option of a setting."""
    return f"--{name.replace('_', '-')}"


def settings_of(form: type[Form], options: Mapping[str, object]) -> Form:
    """Return settings: `options` that are not None over the environment over the defaults.

    Raises ConfigError, which names the option and the variable of a setting that cannot be used.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    try:
        return form(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, said = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{option_of(name)}: {said[0].lower()}{said[1:]}, but it is {str(first['input'])!r}",
            hint=f"pass another {option_of(name)}, or look at {variable_of(name)} in the environment",
        ) from None
