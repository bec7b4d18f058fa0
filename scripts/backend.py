"""Backend that llama.cpp is compiled for on this machine, its CMake flags, and missing compilers."""

import platform
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

LEAN = Path(__file__).with_name("llama.cmake")

SWITCHES = {"cuda": "GGML_CUDA", "metal": "GGML_METAL", "vulkan": "GGML_VULKAN", "rocm": "GGML_HIP"}
LIBRARIES = {"cuda": "ggml-cuda", "metal": "ggml-metal", "vulkan": "ggml-vulkan", "rocm": "ggml-hip"}
TOOLS = {
    "cuda": ("nvcc", "NVIDIA's CUDA toolkit"),
    "vulkan": ("glslc", "the Vulkan SDK (Debian: glslc, libvulkan-dev)"),
    "rocm": ("hipcc", "AMD's ROCm"),
}


class Refused(Exception):
    """The installation cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Machine:
    """Facts of a machine for the choice of a backend. `tools` has the paths of installed compilers by name."""

    system: str
    nvidia_device: bool = False
    tools: Mapping[str, str] | None = None

    def tool(self, name: str) -> str | None:
        """Return the path of a compiler, None when it is not installed."""
        return (self.tools or {}).get(name)


def choose(asked: str, machine: Machine) -> tuple[str, str]:
    """Return the backend and a short reason. Raises Refused for a backend that cannot be built here."""
    if asked == "auto":
        return _automatic(machine)
    if asked != "cpu" and asked not in SWITCHES:
        raise Refused(f"BACKEND={asked} is unknown; use one of: auto, cpu, {', '.join(SWITCHES)}")
    if asked == "metal" and machine.system != "Darwin":
        raise Refused("BACKEND=metal needs macOS")
    name, source = TOOLS.get(asked, ("", ""))
    if name and not machine.tool(name):
        raise Refused(f"BACKEND={asked} needs {name}, which comes with {source}")
    return asked, f"BACKEND={asked}"


def _automatic(machine: Machine) -> tuple[str, str]:
    nvcc = machine.tool("nvcc")
    if machine.system == "Darwin":
        return "metal", "this is macOS"
    if nvcc and machine.nvidia_device:
        return "cuda", "nvcc and an NVIDIA device are here"
    if nvcc:
        return "cpu", "nvcc is here, but no NVIDIA device is visible; BACKEND=cuda forces it"
    if machine.nvidia_device:
        return "cpu", "an NVIDIA device is here, but no nvcc; install the CUDA toolkit, then BACKEND=cuda make install"
    return "cpu", "neither nvcc nor macOS; BACKEND=vulkan or BACKEND=rocm builds for other GPUs"


def cmake_args(backend: str, machine: Machine, extra: str = "") -> str:
    """Return llama.cpp's CMake flags; the user's `extra` flags come last and override them."""
    # A CUDA build without a visible GPU is meant for another machine, as in a container, so it must be portable.
    portable = backend == "cuda" and not machine.nvidia_device
    flags = [f"-DGGML_NATIVE={'OFF' if portable else 'ON'}"]
    flags += [f"-D{switch}={'ON' if name == backend else 'OFF'}" for name, switch in SWITCHES.items()]
    nvcc = machine.tool("nvcc")
    if backend == "cuda" and nvcc:
        flags.append(f"-DCMAKE_CUDA_COMPILER={nvcc}")
    flags += ["-DLLAVA_BUILD=OFF", f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={LEAN}"]
    return " ".join([*map(shlex.quote, flags), extra]).strip()


def fits(backend: str, system: str, files: Iterable[str]) -> bool:
    """Whether the installed shared libraries are those of `backend`; pip's cache may return a wheel for another one."""
    files = list(files)
    found = {name for name, library in LIBRARIES.items() if any(library in file for file in files)}
    ignored = {"cpu", "metal"} if system == "Darwin" else {"cpu"}  # llama-cpp-python forces Metal on macOS
    return found - ignored == {backend} - ignored


def missing_compiler(system: str, environment: Mapping[str, str], which: Callable[[str], str | None]) -> str | None:
    """Return an error message for a machine without a C++ compiler; None if it has one, and on Windows."""
    if system == "Windows":
        return None
    c = which(environment.get("CC", "").split(" ")[0]) or which("cc") or which("gcc") or which("clang")
    cxx = which(environment.get("CXX", "").split(" ")[0]) or which("c++") or which("g++") or which("clang++")
    if c and cxx:
        return None
    install = (
        "xcode-select --install"
        if system == "Darwin"
        else "sudo apt install build-essential (Debian, Ubuntu) or sudo dnf install gcc gcc-c++ (Fedora)"
    )
    language = "C++" if c else "C/C++"
    return f"llama.cpp has to be compiled, and there is no {language} compiler here. Install one: {install}"


def this_machine() -> Machine:
    """Return the facts of this machine."""
    found = {name: shutil.which(name) for name, _ in TOOLS.values()}
    found["nvcc"] = found["nvcc"] or shutil.which("nvcc", path="/usr/local/cuda/bin")
    device = any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/proc/driver/nvidia/gpus").glob("*"))
    if not device and found["nvcc"] and (smi := shutil.which("nvidia-smi")):
        listed = subprocess.run([smi, "-L"], capture_output=True, text=True, check=False)
        device = listed.returncode == 0 and "GPU " in listed.stdout
    return Machine(platform.system(), device, {name: path for name, path in found.items() if path})


def compiler(name: str) -> str | None:
    """Return a command's path like shutil.which, without the stubs of macOS without its command line tools."""
    path = shutil.which(name)
    if path and path.startswith("/usr/bin/") and platform.system() == "Darwin":
        return None if subprocess.run(["xcode-select", "-p"], capture_output=True, check=False).returncode else path
    return path
