"""`.ci/run` fails when the checks or the tests fail, and ends with pytest's closing lines."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKE = """#!/bin/sh
echo "$1" >> "$CALLS"
case $1 in
  check) exit $CHECK ;;
  test) echo "== 3 passed =="; [ $TEST = 0 ] || echo "make: *** [test] Error $TEST" >&2; exit $TEST ;;
esac
"""


def ci(folder: Path, *, check: int, test: int) -> subprocess.CompletedProcess[str]:
    """Run `.ci/run` with a `make` that only notes its calls, and returns these statuses."""
    for name, script in {"make": MAKE, "apt-get": "#!/bin/sh\n"}.items():
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)
    statuses = {"CHECK": str(check), "TEST": str(test), "CALLS": str(folder / "calls")}
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | statuses
    command = ["bash", str(ROOT / ".ci" / "run")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("check", "test", "passes"), [(0, 0, True), (2, 0, False), (0, 2, False), (0, 5, False)])
def test_ci_passes_only_when_checks_and_tests_do(tmp_path: Path, check: int, test: int, passes: bool) -> None:
    done = ci(tmp_path, check=check, test=test)
    assert (done.returncode == 0) is passes
    assert (tmp_path / "calls").read_text(encoding="utf-8").split() == ["check", "test"]
    assert done.stdout.splitlines()[-1] == "== 3 passed =="
