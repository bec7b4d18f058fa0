"""Runs a command with what llama.cpp's CUDA build needs beside nvcc: `make check-cuda` compiles where only nvcc is.

A toolkit without cuBLAS gets NVIDIA's package for pip, kept inside the environment that is built; one without the stub
of the driver's library compiles without virtual memory. `look` reads the machine, `variables` decides.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.backend import Refused, this_machine
from scripts.venv import ROOT, Venv

FLAGS = "-DCMAKE_CUDA_ARCHITECTURES=90-real -DGGML_CUDA_FA=OFF"
"""One architecture and no flash attention kernels: a build that shows whether it compiles, in the shortest time."""

CUBLAS = {"13.0": ("nvidia-cublas==13.0.2.14", "nvidia/cu13", "13")}
"""For a release of CUDA: what pip installs, the folder in it with `include` and `lib`, and how its libraries end."""


@dataclass(frozen=True)
class Toolkit:
    """What the build depends on: the release ("13.0"), whether cuBLAS is in it, and a libcuda.so to link with."""

    release: str
    cublas: bool
    driver: bool


def release(version: str) -> str:
    """Return the release that `nvcc --version` names. Raises Refused when it names none."""
    found = re.search(r"release (\d+\.\d+)", version)
    if not found:
        raise Refused("nvcc --version names no release")
    return found[1]


def folder_of(dryrun: str) -> Path | None:
    """Return the toolkit's folder, which `nvcc --dryrun` prints as TOP; the nvcc on the PATH may be a script."""
    found = re.search(r"^#\$ TOP=(.+)$", dryrun, re.MULTILINE)
    return Path(os.path.normpath(found[1].strip())) if found else None


def look(release: str, folder: Path, system: Path) -> Toolkit:
    """Return what is in the toolkit's folder or among the libraries of the system, whose root is `system`."""
    libraries = ("lib64", "lib", "targets/*/lib")
    usual = ("usr/lib64", "usr/lib", "usr/lib/*")
    places = [*(found for name in libraries for found in folder.glob(name))]
    places += [found for name in usual for found in system.glob(name) if found.is_dir()]
    headers = [*folder.glob("include"), *folder.glob("targets/*/include"), system / "usr/include"]
    cublas = any((place / "libcublas.so").exists() for place in places)
    cublas = cublas and any((place / "cublas_v2.h").exists() for place in headers)
    driver = any((place / name).exists() for place in places for name in ("stubs/libcuda.so", "libcuda.so"))
    return Toolkit(release, cublas, driver)


def variables(toolkit: Toolkit, packages: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for compiling and for running what was compiled; pip's cuBLAS, if needed, is in `packages`.

    The user's CMAKE_ARGS come last and so win. Raises Refused when there is no cuBLAS for this release.
    """
    flags = [FLAGS, *([] if toolkit.driver else ["-DGGML_CUDA_NO_VMM=ON"])]
    found = {"BACKEND": "cuda"}
    if not toolkit.cublas:
        _, name, version = package(toolkit.release)
        lib, include = packages / name / "lib", packages / name / "include"
        named = [f"-DCUDA_{library}_LIBRARY={lib}/lib{library}.so.{version}" for library in ("cublas", "cublasLt")]
        flags += map(shlex.quote, named)
        paths = {"CPATH": include, "CPLUS_INCLUDE_PATH": include, "LD_LIBRARY_PATH": lib}
        found |= {key: ":".join(filter(None, (str(path), environment.get(key)))) for key, path in paths.items()}
    return found | {"CMAKE_ARGS": " ".join(filter(None, (*flags, environment.get("CMAKE_ARGS"))))}


def package(release: str) -> tuple[str, str, str]:
    """Return the entry of CUBLAS for this release. Raises Refused when there is none."""
    if release not in CUBLAS:
        raise Refused(f"the toolkit of CUDA {release} lacks cuBLAS. Install it (Debian: libcublas-dev of that release)")
    return CUBLAS[release]


def this_toolkit() -> Toolkit:
    """Ask nvcc what it belongs to. Raises Refused when there is none."""
    nvcc = this_machine().tool("nvcc")
    if not nvcc:
        raise Refused("nvcc, which comes with NVIDIA's CUDA toolkit, is not here")
    asked = (["--version"], ["--dryrun", "-x", "cu", "-c", os.devnull])
    version, dryrun = (
        subprocess.run([nvcc, *arguments], capture_output=True, text=True, check=False) for arguments in asked
    )
    folder = folder_of(dryrun.stderr) or Path(nvcc).resolve().parent.parent
    return look(release(version.stdout), folder, Path("/"))


def install_cublas(venv: Venv, packages: Path, requirement: str) -> None:
    """Install cuBLAS into `packages`, once, with the pip of `venv`, which is created. Raises Refused."""
    venv.create(f"{sys.version_info.major}.{sys.version_info.minor}")
    done = packages / f"{requirement}.installed"
    if done.exists():
        return
    print(f"the CUDA toolkit lacks cuBLAS: installing {requirement}", file=sys.stderr, flush=True)
    command = [str(venv.python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--upgrade"]
    if subprocess.run([*command, "--target", str(packages), requirement], check=False).returncode:
        raise Refused(f"{requirement} could not be installed")
    done.touch()


def main() -> int:
    """Run a command with the variables; return its exit status."""
    parser = argparse.ArgumentParser(description="Run a command with what llama.cpp's CUDA build needs beside nvcc.")
    parser.add_argument("--venv", type=Path, required=True, help="folder of the environment that is built")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    venv = Venv(ROOT / arguments.venv)
    packages = venv.folder / "cublas"
    try:
        toolkit = this_toolkit()
        needed = variables(toolkit, packages, os.environ)
        if not toolkit.cublas:
            install_cublas(venv, packages, package(toolkit.release)[0])
    except Refused as refusal:
        print(f"llama.cpp cannot be compiled for CUDA: {refusal}", file=sys.stderr)
        return 1
    return subprocess.run(arguments.command, env=os.environ | needed, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
