"""`.ci/run` fails when the checks or a test run fail or cannot run, and ends with the closing lines of `make test`."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKES = {
    "make": """#!/bin/sh
echo "$1:$BACKEND" >> "$CALLS"
case $1 in
  check) exit $CHECK ;;
  test) echo "== 3 passed =="; [ $TEST = 0 ] || echo "make: *** [test] Error $TEST" >&2; exit $TEST ;;
  test-slow) echo "== 4 passed =="; exit $SLOW ;;
  test-real) echo "== 1 passed =="; exit $REAL ;;
  test-gpu) echo "== 2 passed =="; exit $GPU ;;
  browser) echo "== 5 passed =="; exit $BROWSER ;;
esac
""",
    "apt-get": '#!/bin/sh\necho "apt-get-$1" >> "$CALLS"\nexit $APT\n',
    "python3": """#!/bin/sh
case "$1 $2" in
  "-m scripts.vulkan_headers") exit $PARTS ;;
  "-m scripts.chromium") exit $CHROMIUM ;;
esac
""",
}
ALL = ["check:cpu", "test:cpu", "test-slow:cpu", "test-real:cpu", "test-gpu:vulkan", "browser:cpu"]


def ci(folder: Path, **statuses: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run `.ci/run` with programs that note their calls and return these statuses (0); return the calls too."""
    for name, script in FAKES.items():
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)
    zero = dict.fromkeys(("CHECK", "TEST", "SLOW", "REAL", "GPU", "BROWSER", "APT", "PARTS", "CHROMIUM"), 0)
    given = {name: str(status) for name, status in (zero | statuses).items()} | {"CALLS": str(folder / "calls")}
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | given
    command = ["bash", str(ROOT / ".ci" / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done, (folder / "calls").read_text(encoding="utf-8").split()


@pytest.mark.parametrize(
    "failed",
    [
        {},
        {"CHECK": 2},
        {"TEST": 2},
        {"TEST": 5},
        {"SLOW": 1},
        {"REAL": 1},
        {"GPU": 2},
        {"BROWSER": 1},
        {"CHECK": 2, "TEST": 2, "GPU": 2},
    ],
)
def test_ci_passes_only_when_all_that_it_runs_pass(tmp_path: Path, failed: dict[str, int]) -> None:
    done, calls = ci(tmp_path, **failed)
    assert (done.returncode == 0) is (not failed)
    assert calls == ALL
    assert done.stdout.splitlines()[-1] == "== 3 passed =="


def test_ci_installs_what_vulkan_needs_after_the_tests(tmp_path: Path) -> None:
    done, calls = ci(tmp_path, PARTS=1)
    assert done.returncode == 0
    assert calls == [*ALL[:4], "apt-get-update", "apt-get-install", *ALL[4:]]


def test_gpu_tests_that_cannot_run_are_no_pass(tmp_path: Path) -> None:
    done, calls = ci(tmp_path, PARTS=1, APT=100)
    assert done.returncode != 0
    assert "make test-gpu was not run: " in done.stdout
    assert calls == [*ALL[:4], "apt-get-update", ALL[5]]
    assert done.stdout.splitlines()[-1] == "== 3 passed =="


def test_ci_installs_chromium_where_it_is_missing(tmp_path: Path) -> None:
    done, calls = ci(tmp_path, CHROMIUM=1)
    assert done.returncode == 0
    assert calls == [*ALL[:5], "apt-get-update", "apt-get-install", ALL[5]]


def test_browser_tests_that_cannot_run_are_no_pass(tmp_path: Path) -> None:
    done, calls = ci(tmp_path, CHROMIUM=1, APT=100)
    assert done.returncode != 0
    assert "make browser was not run: " in done.stdout
    assert calls == [*ALL[:5], "apt-get-update"]
