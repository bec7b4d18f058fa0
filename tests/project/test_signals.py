"""Commands that tests start can be interrupted, in whatever way the tests themselves were started."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_that_a_test_started(number: signal.Signals) -> None:
    ended = subprocess.run(["sh", "-c", f"kill -{number} $$"], check=False)

    assert ended.returncode == -number


def test_a_signal_ends_it_also_where_the_tests_were_started_with_signals_ignored() -> None:
    test = f"{Path(__file__)}::{test_a_signal_ends_a_command_that_a_test_started.__name__}"
    again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]

    run = subprocess.run(
        ["sh", "-c", 'trap "" INT TERM; exec "$@"', "sh", *again],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "2 passed" in run.stdout, run.stdout + run.stderr
