"""Vulkan headers that are new enough to compile llama.cpp: the system's own, else Debian's, unpacked into a folder.

Debian 12's lack vk::LayerSettingEXT. Those of Debian 13 are fetched with apt from the machine's own mirror: any user
can do it, and nothing of the system changes. `missing`, `new_enough`, `deb822` and `one_line` decide, `fetch` acts.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.backend import Refused

SUITE = "trixie"
PACKAGES = ("libvulkan-dev", "spirv-headers")
SYSTEM = Path("/")


@dataclass(frozen=True)
class Part:
    """Requirement of the Vulkan backend: files that prove it is installed, and variables that locate it elsewhere."""

    package: str
    name: str
    files: tuple[str, ...]
    variables: tuple[str, ...] = ()


PARTS = (
    Part("glslc", "the shader compiler glslc", ()),
    Part(
        "libvulkan-dev",
        "Vulkan's loader",
        ("usr/lib/libvulkan.so", "usr/lib64/libvulkan.so", "usr/lib/*/libvulkan.so", "usr/local/lib/libvulkan.so"),
        ("VULKAN_SDK",),
    ),
    Part(
        "spirv-headers",
        "SPIR-V's headers",
        tuple(f"usr/{folder}/cmake/SPIRV-Headers" for folder in ("share", "lib", "lib64", "local/share", "local/lib")),
        ("VULKAN_SDK", "CMAKE_PREFIX_PATH"),
    ),
)
DRIVER = Part(
    "mesa-vulkan-drivers",
    "a Vulkan driver (Mesa's llvmpipe needs no GPU)",
    tuple(f"{folder}/vulkan/icd.d/*.json" for folder in ("usr/share", "usr/local/share", "etc")),
    ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"),
)


def missing(root: Path, environment: Mapping[str, str], parts: tuple[Part, ...]) -> str | None:
    """Return an error message for a system that lacks some of `parts`, with the install command; else None."""
    lacking = [part for part in parts if not _here(part, root, environment)]
    if not lacking:
        return None
    names = ", ".join(part.name for part in lacking)
    packages = " ".join(part.package for part in lacking)
    return f"not found here: {names}. Install what is missing: sudo apt install {packages} (Debian, Ubuntu)"


def _here(part: Part, root: Path, environment: Mapping[str, str]) -> bool:
    if not part.files:
        return shutil.which(part.package, path=environment.get("PATH", "")) is not None
    named = any(environment.get(name) for name in part.variables)
    return named or any(True for pattern in part.files for _ in root.glob(pattern))


def new_enough(include: Path) -> bool:
    """Whether the headers of this include folder define vk::LayerSettingEXT, which llama.cpp uses whatever the version.

    VK_EXT_layer_settings brought it. llama.cpp looks for everything else that is newer than Debian 12 before using it.
    """
    files = (include / "vulkan" / name for name in ("vulkan_structs.hpp", "vulkan.hpp"))
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    return any(re.search(r"\bstruct LayerSettingEXT\s*\{", text) for text in texts)


def system_include(root: Path, environment: Mapping[str, str]) -> Path | None:
    """Return the folder from which a compiler here takes Vulkan's headers, None when there are none."""
    named = [Path(name) for name in environment.get("CPLUS_INCLUDE_PATH", "").split(os.pathsep) if name]
    sdk = environment.get("VULKAN_SDK")
    usual = [root / "usr/local/include", root / "usr/include"]
    folders = [*named, *([Path(sdk) / "include"] if sdk else []), *usual]
    return next((folder for folder in folders if (folder / "vulkan" / "vulkan.h").exists()), None)


def deb822(text: str, codename: str) -> str:
    """Return a copy of apt's sources in stanzas: what is Debian's own for `codename`, with SUITE in its place."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stanzas = [_fields(stanza) for stanza in re.split(r"\n[ \t]*\n", lines)]
    kept = [fields for fields in stanzas if _is_debians(fields, codename)]
    replaced = {"types": "deb", "suites": SUITE, "components": "main"}
    copies = ["".join(f"{name}: {value}\n" for name, value in (fields | replaced).items()) for fields in kept]
    return "\n".join(copies)


def _fields(stanza: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t"):
            found[name] = f"{found.get(name, '')}\n{line}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            found[name] = value.strip()
    return found


def _is_debians(fields: Mapping[str, str], codename: str) -> bool:
    listed = {name: fields.get(name, "").split() for name in ("types", "suites", "components")}
    ours = "deb" in listed["types"] and codename in listed["suites"] and "main" in listed["components"]
    signed = "debian-archive" in fields.get("signed-by", "debian-archive")
    return ours and signed and fields.get("enabled", "yes").lower() not in ("no", "false", "0")


def one_line(text: str, codename: str) -> str:
    """Return a copy of apt's sources in lines: what is Debian's own for `codename`, with SUITE in its place."""
    copies = []
    for line in text.splitlines():
        entry = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if not entry or entry[3] != codename or "main" not in entry[4].split():
            continue
        options = entry[1] or ""
        if "signed-by" not in options or "debian-archive" in options:
            copies.append(f"deb {f'[{options}] ' if options else ''}{entry[2]} {SUITE} main\n")
    return "".join(copies)


def sources(root: Path) -> dict[str, str]:
    """Return the files of a source list for SUITE, made of the machine's own. Raises Refused when it has none."""
    file = root / "etc/os-release"
    release = file.read_text(encoding="utf-8") if file.exists() else ""
    codename = re.search(r"^VERSION_CODENAME=\"?(\w+)", release, re.MULTILINE)
    if not codename or not re.search(r"^ID=\"?debian\"?$", release, re.MULTILINE):
        raise Refused(
            "the Vulkan headers here lack vk::LayerSettingEXT, and newer ones can be fetched on Debian only. "
            "Install a newer Vulkan SDK and set VULKAN_SDK to its folder"
        )
    apt = root / "etc/apt"
    copies = {}
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        rewrite = {".list": one_line, ".sources": deb822}.get(path.suffix)
        if rewrite and path.is_file() and (copy := rewrite(path.read_text(encoding="utf-8"), codename[1])):
            copies[path.name] = copy
    if not copies:
        raise Refused(f"no entry of apt's sources names Debian's {codename[1]}, so there is no mirror for {SUITE}")
    return copies


def fetch(folder: Path, lists: Mapping[str, str]) -> None:
    """Download PACKAGES with these source lists and unpack them into `folder`, all or nothing. Raises Refused."""
    print(f"fetching newer Vulkan headers, those of Debian's {SUITE}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        work.chmod(0o755)  # apt downloads as a user of its own
        for part in ("sources", "lists/partial", "cache/archives/partial", "packages", "unpacked"):
            (work / part).mkdir(parents=True)
        for file, text in lists.items():
            (work / "sources" / file).write_text(text, encoding="utf-8")
        said = _apt(work, "update")
        said += _apt(work, "download", *PACKAGES)
        packages = list((work / "packages").glob("*.deb"))
        if len(packages) < len(PACKAGES):
            error = next((line for line in said.splitlines() if line.startswith("E:")), "apt-get gave no reason")
            raise Refused(f"the Vulkan headers of Debian's {SUITE} could not be downloaded: {error}")
        for package in packages:
            if subprocess.run(["dpkg", "-x", str(package), str(work / "unpacked")], check=False).returncode:
                raise Refused(f"dpkg could not unpack {package.name}")
        _move(work / "unpacked", folder)


def _move(unpacked: Path, folder: Path) -> None:
    draft = folder.with_name(f"{folder.name}.new")
    for old in (draft, folder):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(unpacked, draft, symlinks=True)  # the folder for temporary files may be on another disk
    draft.rename(folder)


def _apt(work: Path, *arguments: str) -> str:
    places = {"sourcelist": "/dev/null", "sourceparts": work / "sources", "preferences": "/dev/null"}
    options = [f"Dir::Etc::{name}={place}" for name, place in (places | {"preferencesparts": "/dev/null"}).items()]
    options += [f"Dir::State::lists={work / 'lists'}", f"Dir::Cache={work / 'cache'}"]
    options += ["Acquire::http::Timeout=30", "Acquire::Retries=2"]
    command = ["apt-get", "-q", *(word for option in options for word in ("-o", option)), *arguments]
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(command, cwd=work / "packages", env=environment, capture_output=True, text=True, check=False)
    return f"{done.stdout}\n{done.stderr}\n"


def headers(folder: Path, root: Path, environment: Mapping[str, str]) -> Path | None:
    """Return the include folder to compile with, in `folder`; None when the system's own headers do.

    Fetches it once. Raises Refused when headers are too old and no newer ones can be had.
    """
    system = system_include(root, environment)
    if system and new_enough(system):
        return None
    include = folder / "usr/include"
    if new_enough(include):
        return include
    lists = sources(root)
    if lacking := [tool for tool in ("apt-get", "dpkg") if not shutil.which(tool, path=environment.get("PATH", ""))]:
        raise Refused(
            f"the Vulkan headers here lack vk::LayerSettingEXT, and {' and '.join(lacking)}, which would fetch newer "
            "ones, cannot be found. Put it on the PATH, or install a newer Vulkan SDK and set VULKAN_SDK to its folder"
        )
    fetch(folder, lists)
    if not new_enough(include):
        raise Refused(f"the Vulkan headers of Debian's {SUITE} lack vk::LayerSettingEXT")
    return include


def with_include(include: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that put `include` before every other include folder of the C and C++ compilers."""
    names = ("CPLUS_INCLUDE_PATH", "C_INCLUDE_PATH")
    return {name: os.pathsep.join(filter(None, (str(include), environment.get(name, "")))) for name in names}


def main() -> int:
    """Report missing Vulkan parts; given a folder, fetch headers into it when needed and print their include folder."""
    parser = argparse.ArgumentParser(description="Check for what llama.cpp needs for Vulkan, and fetch newer headers.")
    parser.add_argument("folder", type=Path, nargs="?", help="where to keep headers; without it nothing is fetched")
    folder: Path | None = parser.parse_args().folder
    if platform.system() != "Linux":
        return 0
    try:
        if sentence := missing(SYSTEM, os.environ, (*PARTS, DRIVER)):
            raise Refused(sentence)
        if folder and (include := headers(folder.resolve(), SYSTEM, os.environ)):
            print(include)
    except Refused as refusal:
        print(f"llama.cpp cannot be compiled for Vulkan: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
