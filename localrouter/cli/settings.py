"""Settings as a command line and the environment give them, and what is wrong with them in words."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from localrouter.config import EngineSettings
from localrouter.errors import ConfigError
from localrouter.memory.machine import Machine, UnknownDevice, this_machine

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


def machine_of(settings: EngineSettings) -> Machine:
    """This machine with the GPUs that the settings choose. Raises ConfigError where these cannot be used."""
    try:
        machine = this_machine(settings.device)
    except UnknownDevice as error:
        hint = "`localrouter devices` lists what can be named, also in LOCALROUTER_DEVICE"
        raise ConfigError(f"--device: {error}", hint=hint) from None
    count, shares = len(machine.gpus), settings.tensor_split
    if shares is not None and len(shares) != count:
        names = ", ".join(gpu.device for gpu in machine.gpus) or "none"
        raise ConfigError(
            f"--tensor-split must have a share for each GPU that is used, {count} ({names}), and has {len(shares)}",
            hint="pass another --tensor-split, look at LOCALROUTER_TENSOR_SPLIT, or choose GPUs with --device",
        )
    return machine
