"""Settings from the command line and the environment, and error messages for invalid ones."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from localrouter.config import EngineSettings
from localrouter.errors import ConfigError
from localrouter.memory.machine import Machine, UnknownDevice, this_machine

SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def variable_of(name: str) -> str:
    """Return the environment variable of a setting, such as LOCALROUTER_PORT for `port`."""
    return f"LOCALROUTER_{name.upper()}"


def option_of(name: str) -> str:
    """Return the command line option of a setting, such as --max-queue for `max_queue`."""
    return f"--{name.replace('_', '-')}"


def settings_of(settings: type[SettingsType], options: Mapping[str, object]) -> SettingsType:
    """Return settings of this type: options that are given, else environment variables, else defaults.

    An option that is None, or an empty tuple where it is repeatable, is not given.

    Raises ConfigError, which names the option and the variable of an invalid setting.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value not in (None, ())}
    try:
        return settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name, message = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{option_of(name)}: {message[0].lower()}{message[1:]}, but it is {str(first['input'])!r}",
            hint=f"pass another {option_of(name)}, or change {variable_of(name)} in the environment",
        ) from None


def machine_of(settings: EngineSettings) -> Machine:
    """Return this machine with the GPUs that the settings select. Raises ConfigError where these cannot be used."""
    try:
        machine = this_machine(settings.device)
    except UnknownDevice as error:
        hint = "`localrouter devices` lists the valid names; LOCALROUTER_DEVICE takes the same ones"
        raise ConfigError(f"--device: {error}", hint=hint) from None
    count, shares = len(machine.gpus), settings.tensor_split
    if shares is not None and len(shares) != count:
        names = ", ".join(gpu.device for gpu in machine.gpus) or "none"
        raise ConfigError(
            f"--tensor-split must have a share for each GPU that is used, {count} ({names}), and has {len(shares)}",
            hint="pass another --tensor-split, change LOCALROUTER_TENSOR_SPLIT, or select GPUs with --device",
        )
    return machine
