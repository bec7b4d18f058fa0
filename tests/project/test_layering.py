"""Who may import whom: a layer only what lies below it, and native code only in one package of the worker process."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "localrouter"
LAYERS = [
    "__main__",
    "cli",
    "api bench conformance",
    "dialects",
    "router chat",
    "engine weights",
    "memory",
    "gguf",
    "schema config sandbox",
    "load_options",
    "errors",
    "__init__",
]
ROOMS = {
    "engine": [
        "ipc",
        "engine",
        "preprocessing",
        "backends",
        "scheduling",
        "grammar output sampling",
        "kv_cache messages",
        "generation_request",
        "model_info",
        "fallbacks",
    ],
    "chat": ["response", "request", "model_facts", "grammar parsing prompt", "engine_interface families"],
    "weights": [
        "bundle",
        "cache_cleanup catalog header_cache",
        "build_facts build_shapes disk_usage verification",
        "addition hub",
        "registry",
        "extra_models missing_model",
        "build_location name_lookup",
        "manifest hashed_copy",
    ],
    "bench": [
        "session",
        "comparison",
        "bandwidth inprocess",
        "servers",
        "load",
        "results synthetic workloads",
        "environment run_progress scratch words",
    ],
}
"""The floors inside a part, highest first: a room imports only rooms on lower floors."""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer.split()}
NATIVE = "localrouter.engine.backends.llama."
"""The package that may import llama_cpp."""
IN_ITS_OWN_PROCESS = {"localrouter.bench.inprocess"}
"""What may see the inside of the engine, because it runs where nothing is served, as a worker does."""
VISIBLE = {
    f"localrouter.engine.{name}"
    for name in (
        "messages",
        "generation_request",
        "model_info",
        "fallbacks",
        "ipc.client",
        "ipc.process",
        "ipc.load_fallback",
    )
}


def name_of(path: Path) -> str:
    """Return `localrouter.engine.ipc.worker` for its file, and `localrouter.engine` for the package's own."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def part_of(module: str) -> str:
    """The top-level part a module belongs to: `engine` for localrouter.engine.ipc.worker."""
    return [*module.split("."), "__init__"][1]


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            inner = {f"{base}.{name.name}" for name in node.names} & (MODULES.keys() | VISIBLE)
            yield from inner or {base}


def violations(module: str, path: Path) -> Iterator[str]:
    """Each import of a module that the layers forbid."""
    own = part_of(module)
    for target in imports(path):
        other = part_of(target)
        if target.startswith("."):
            yield f"{module}: {target} is relative"
        elif target.split(".")[0] == "llama_cpp" and not module.startswith(NATIVE):
            yield f"{module}: only engine/backends/llama/ may import llama_cpp"
        elif target.split(".")[0] == "localrouter" and other != own:
            if RANK[own] >= RANK[other]:
                yield f"{module}: {own} may not import {other}"
            elif other == "engine" and target not in VISIBLE and module not in IN_ITS_OWN_PROCESS:
                yield f"{module}: {target} is not visible outside engine/"


def upward(part: str, floors: list[str]) -> Iterator[str]:
    """Yield each import inside a part from a room that is not on a lower floor."""
    floor = {name: number for number, names in enumerate(floors) for name in names.split()}
    for module, path in sorted(MODULES.items()):
        if part_of(module) != part or module.count(".") < 2:
            continue
        room = module.split(".")[2]
        for target in imports(path):
            other = target.split(".")[2] if target.startswith(f"localrouter.{part}.") else room
            if other != room and floor[other] <= floor[room]:
                yield f"{module}: {room} may not import {other}"


def cycle() -> list[str]:
    """Return modules of the package that import each other in a circle, or nothing."""
    graph = {module: {target for target in imports(path) if target in MODULES} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(module) for module in error.args[1]]
    return []


def test_rooms_import_only_rooms_on_lower_floors() -> None:
    assert [text for part, floors in ROOMS.items() for text in upward(part, floors)] == []


def test_a_room_that_imports_upward_is_found() -> None:
    upside_down = list(reversed(ROOMS["engine"]))
    assert "localrouter.engine.engine: engine may not import scheduling" in list(upward("engine", upside_down))


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycle() == []


def test_every_part_has_its_layer() -> None:
    assert {part_of(module) for module in MODULES} - {"assets", "web"} <= RANK.keys()


def test_forbidden_imports_are_found(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        "import llama_cpp\nfrom localrouter import api\ndef f():\n  from localrouter.engine.ipc import worker\n"
    )
    assert len(list(violations("localrouter.chat.file", file))) == 3
    assert len(list(violations("localrouter.bench.file", file))) == 3
    assert len(list(violations("localrouter.bench.inprocess", file))) == 2
    assert len(list(violations("localrouter.engine.file", file))) == 2
    assert len(list(violations("localrouter.engine.backends.llama.file", file))) == 1


def test_imports_point_downward_only() -> None:
    assert [text for module, path in sorted(MODULES.items()) for text in violations(module, path)] == []


def test_the_serving_process_loads_no_native_inference_code() -> None:
    outside = [module for module in MODULES if part_of(module) not in ("engine", "__main__")]
    names = [*outside, *(VISIBLE & MODULES.keys())]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; sys.exit('llama_cpp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
