"""Wheels of localrouter and its dependencies for this Python and platform, with a portable llama.cpp.

An installation compiles llama.cpp for the local CPU. A wheel for other machines must not: here every variant of the CPU
kernels is compiled into a library of its own, and llama.cpp loads the fastest that the machine can run.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TypeAlias

import localrouter
from localrouter.weights.bundle.index import BundleError, WheelTarget

LLAMA = "llama-cpp-python"
NATIVE_OFF = ("-DGGML_NATIVE=OFF", "-DGGML_OPENMP=OFF", "-DLLAVA_BUILD=OFF")
"""CMake flags for portability: no native code, and ggml's own threads, because libgomp comes with a compiler."""
EVERY_VARIANT = (
    "-DGGML_BACKEND_DL=ON",
    "-DGGML_CPU_ALL_VARIANTS=ON",
    "-DCMAKE_INSTALL_BINDIR=llama_cpp/lib",
    "-DCMAKE_INSTALL_LIBDIR=llama_cpp/lib",
    "-DCMAKE_INSTALL_INCLUDEDIR=llama_cpp/include",
)
"""CMake flags for all CPU variants. The install folders are set because llama-cpp-python does not install variants."""
_FOR_SOME_CPUS = re.compile(r"-m(arch|cpu|s?sse|avx|fma|f16c|bmi|amx)")
"""Compiler flags that make a build specific to some CPUs."""
_SECONDS_BETWEEN = 10.0

Say: TypeAlias = Callable[[str], object]
Pip: TypeAlias = Callable[[Sequence[str], Mapping[str, str], Say], None]
"""Function that runs pip with arguments and additional environment variables. Raises BundleError."""


@dataclass(frozen=True)
class WheelSource:
    """Source of localrouter's wheel: a checkout with its constraints, or None for an installed package."""

    checkout: Path | None

    @classmethod
    def here(cls) -> "WheelSource":
        """Return the source of the running localrouter."""
        root = Path(localrouter.__file__).parent.parent
        return cls(root if (root / "constraints.txt").is_file() and (root / "pyproject.toml").is_file() else None)

    @property
    def requirement(self) -> str:
        """Requirement for pip: the checkout, or the installed version of localrouter."""
        return str(self.checkout) if self.checkout else f"localrouter=={localrouter.__version__}"

    @property
    def lean(self) -> Path | None:
        """CMake file that leaves out parts of llama.cpp that localrouter does not load; None without a checkout."""
        return self.checkout and self.checkout / "scripts" / "llama.cmake"

    def constraints(self) -> str:
        """Return pip constraints: the file of the checkout, or the versions installed here."""
        if self.checkout:
            return (self.checkout / "constraints.txt").read_text(encoding="utf-8")
        installed = {each.name.lower(): each.version for each in distributions()}
        return "".join(f"{name}=={number}\n" for name, number in sorted(installed.items()) if name != "localrouter")


def build_wheels(folder: Path, say: Say, *, pip: Pip | None = None, origin: WheelSource | None = None) -> list[Path]:
    """Build all wheels in `folder`, return their paths. The compiled llama.cpp is cached. Raises BundleError."""
    pip, origin = pip or run_pip, origin or WheelSource.here()
    constraints = folder / "constraints.txt"
    constraints.write_text(origin.constraints(), encoding="utf-8")
    llama = _portable_llama(pip, origin, constraints, say)
    say("collecting the wheels of localrouter and its dependencies")
    pip(["wheel", "-c", str(constraints), "-w", str(folder), origin.requirement, str(llama)], {}, say)
    constraints.unlink()
    return sorted(folder.glob("*.whl"))


def wheel_target() -> WheelTarget:
    """Return the platform of wheels that are built here."""
    return WheelTarget(
        python=f"cp{sys.version_info.major}{sys.version_info.minor}",
        platform=sysconfig.get_platform(),
        libc=" ".join(platform.libc_ver()).strip(),
    )


def llama_flags(system: str, lean: Path | None) -> list[str]:
    """Return the CMake flags of a llama.cpp for every CPU of this architecture."""
    flags = [*NATIVE_OFF]
    if system == "Linux":  # macOS needs no variants: its CPUs are similar, and Metal does the work
        flags += EVERY_VARIANT
    return flags + ([f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={lean}"] if lean else [])


def portable_compiler_flags(environment: Mapping[str, str]) -> dict[str, str]:
    """Return CFLAGS and CXXFLAGS, where they are set, without flags for some CPUs only, because CMake uses them."""
    return {
        name: " ".join(word for word in environment[name].split() if not _FOR_SOME_CPUS.match(word))
        for name in ("CFLAGS", "CXXFLAGS")
        if name in environment
    }


def run_pip(arguments: Sequence[str], environment: Mapping[str, str], say: Say) -> None:
    """Run this Python's pip and report compiler progress. Raises BundleError with pip's last lines."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with subprocess.Popen(  # noqa: S603
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        words: list[str] = []
        said = time.monotonic()
        for line in process.stdout or ():
            words = [*words[-7:], line.rstrip()]
            step = re.match(r"\s*\[(\d+)/(\d+)\]", line)
            if step and time.monotonic() - said > _SECONDS_BETWEEN:
                said = time.monotonic()
                say(f"compiling llama.cpp: {step[1]} of {step[2]}")
    if process.returncode:
        raise BundleError(
            "pip could not build the wheels:\n  " + "\n  ".join(words),
            hint="wheels need pip, a C++ compiler, and a network or a folder of wheels (pip config)",
        )


def _portable_llama(pip: Pip, origin: WheelSource, constraints: Path, say: Say) -> Path:
    """Return the portable wheel of llama-cpp-python from the cache, or compile it."""
    flags = llama_flags(platform.system(), origin.lean)
    number = version(LLAMA)
    kept = _cache_home() / "wheels" / _key(number, flags, origin.lean)
    if found := sorted(kept.glob("*.whl")):
        return found[0]
    say(f"compiling llama.cpp for every {platform.machine()} CPU; this takes some minutes, once")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        # pip compares names of wheels only, so its own cache could return one that was compiled for this CPU alone.
        fresh = ["--no-cache-dir", "--no-binary", LLAMA, "--no-deps"]
        arguments = ["wheel", "-v", *fresh, "-c", str(constraints), "-w", scratch, f"{LLAMA}=={number}"]
        pip(arguments, {"CMAKE_ARGS": shlex.join(flags)} | portable_compiler_flags(os.environ), say)
        shutil.rmtree(kept, ignore_errors=True)
        Path(scratch).rename(kept)
        Path(scratch).mkdir()  # TemporaryDirectory removes it
    return next(kept.glob("*.whl"))


def _key(number: str, flags: Sequence[str], lean: Path | None) -> str:
    facts = [*(flag for flag in flags if not flag.endswith("llama.cmake")), lean.read_text() if lean else ""]
    target = wheel_target()
    digest = blake2b("\n".join(facts).encode(), digest_size=6).hexdigest()
    return f"llama-{number}-{target.python}-{target.platform}-{digest}"


def _cache_home() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "localrouter"
