"""Virtual environment of the project: its paths, the record of what is installed, and its creation."""

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.backend import Refused

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Installed:
    """Installed state, or target state, of an environment."""

    python: str
    project: str
    llama: str
    backend: str
    cmake_args: str
    dev: bool

    @property
    def native(self) -> tuple[str, str, str, str]:
        """Key of the compiled llama.cpp: Python, version, backend and CMake flags."""
        return self.python, self.llama, self.backend, self.cmake_args


@dataclass(frozen=True)
class Venv:
    """Virtual environment in a folder, with a record of what is installed."""

    folder: Path

    @property
    def python(self) -> Path:
        """Path of the Python interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def log(self) -> Path:
        """Path of the log with the output of pip and the compiler."""
        return self.folder / "install.log"

    @property
    def _record(self) -> Path:
        return self.folder / "localrouter.json"

    def installed(self) -> Installed | None:
        """Return the recorded state; None without a usable record."""
        try:
            return Installed(**json.loads(self._record.read_text(encoding="utf-8"))) if self.python.exists() else None
        except (OSError, ValueError, TypeError):
            return None

    def record(self, state: Installed) -> None:
        """Write the record of what is installed atomically."""
        draft = self._record.with_suffix(".new")
        draft.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        draft.replace(self._record)

    def forget(self) -> None:
        """Remove the record before an installation."""
        self._record.unlink(missing_ok=True)

    def create(self, python: str) -> None:
        """Create the environment for this Python version; recreate it for another one, and add a missing pip."""
        config = self.folder / "pyvenv.cfg"
        settings = config.read_text(encoding="utf-8") if config.exists() else ""
        version = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", settings, re.MULTILINE)
        right = version is not None and version[1] == python and self.python.exists()
        if right and self.python.with_name("pip").exists():
            return
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise Refused(
                "this Python lacks its venv module. Install it (Debian, Ubuntu: sudo apt install python3-venv), "
                "then run the same command again"
            )
        print(f"creating {self.folder.name} with Python {platform.python_version()}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "venv", *([] if right else ["--clear"]), str(self.folder)]
        if subprocess.run(command, check=False).returncode:
            raise Refused(f"the virtual environment {self.folder.name} could not be created")
