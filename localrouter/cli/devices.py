"""`localrouter devices`: the devices that llama.cpp can compute on, and the GPUs that models are offloaded to."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict

import rich_click as click
from rich.table import Table
from rich.text import Text

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import json_option, print_data, talk
from localrouter.cli.settings import settings_of
from localrouter.config import EngineSettings
from localrouter.engine.ipc.load_fallback import default_store
from localrouter.errors import OperatorError
from localrouter.memory.devices import Device, DevicesUnknown, ask, is_built_for_gpu
from localrouter.memory.machine import UnknownDevice, with_devices

_BUILD = "`BACKEND=... make install` builds it for a GPU: cuda, metal, vulkan or rocm"


@click.command("devices", epilog=exit_statuses("listed"))
@json_option
@click.option(
    "--forget", is_flag=True, help="Forget GPU failures, so that models load with full settings again, and exit."
)
def devices(*, as_json: bool, forget: bool) -> None:
    """List the devices that llama.cpp can compute on, with their memory.

    `>` marks the GPUs used for GPU offload: those named by LOCALROUTER_DEVICE, by default llama.cpp's own choice.
    """
    store = default_store()
    if forget:
        talk(f"forgotten: the safer settings of {_files(store.forget())}")
        return
    names = settings_of(EngineSettings, {}).device
    found = list_devices(ask)
    used, remark = used_of(found, names, built_for_gpu=is_built_for_gpu())
    if as_json:
        entries = [asdict(device) | {"used": device.name in used} for device in found]
        click.echo(json.dumps({"devices": entries}, indent=2))
    else:
        print_data(_table(found, used))
    if remark:
        talk(remark, "yellow")
    if count := store.count():
        talk(f"{_files(count)} failed on a GPU and run with safer settings; --forget resets them", "yellow")


def _files(count: int) -> str:
    return "1 model file" if count == 1 else f"{count} model files"


def list_devices(asked: Callable[[], Sequence[Device]]) -> Sequence[Device]:
    """Return the devices that `asked` lists. Raises OperatorError if the list is empty or cannot be read."""
    try:
        found = asked()
    except DevicesUnknown as error:
        raise OperatorError(
            str(error), hint=f"look at the driver of the GPU, or install llama.cpp again; {_BUILD}"
        ) from None
    if not found:
        raise OperatorError("llama.cpp lists no device, not even the CPU", hint="`make install` installs it again")
    return found


def used_of(found: Sequence[Device], names: str | None, *, built_for_gpu: bool) -> tuple[frozenset[str], str | None]:
    """Return the names of the GPUs used for GPU offload, and a remark for the user, or None."""
    try:
        used = frozenset(gpu.device for gpu in with_devices(found, names).gpus)
    except UnknownDevice as error:
        why = f"LOCALROUTER_DEVICE={names} cannot be used: {error}"
        return frozenset(), why if built_for_gpu else f"{why}\n{_only_cpu()}"
    if used:
        return used, None
    if built_for_gpu:
        return used, "llama.cpp was built for GPUs and finds none here: models run on the CPU; look at the driver"
    return used, _only_cpu()


def _only_cpu() -> str:
    return f"llama.cpp was built for the CPU only; {_BUILD}"


def _table(found: Sequence[Device], used: Collection[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("", "device", "kind", "backend", "free", "driver: free", "total", "description"):
        right = title in {"free", "driver: free", "total"}
        last = title == "description"
        table.add_column(title, justify="right" if right else "left", min_width=1, overflow="fold", no_wrap=not last)
    for device in found:
        driver = "-" if device.driver_free is None else human_size(device.driver_free)
        table.add_row(
            Text(">" if device.name in used else "", "bold green"),
            Text(device.name, "bold"),
            Text(device.kind.value),
            Text(device.backend),
            Text(human_size(device.free)),
            Text(driver),
            Text(human_size(device.total)),
            Text(device.description, "dim"),
        )
    return table
