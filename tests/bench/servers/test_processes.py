"""Programs under test: what they hold, and that nothing of them stays behind."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from localrouter.bench.servers import processes
from localrouter.bench.servers.processes import Program, ProgramFailed, rss, running

SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]); time.sleep(600)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


def wait_for(program: Program, word: str) -> None:
    while word not in program.text:
        program.check()


def test_its_children_and_their_memory_are_found_and_end_with_it() -> None:
    with running([sys.executable, "-c", PARENT], os.environ) as program:
        wait_for(program, "here")
        [child] = psutil.Process(program.process.pid).children()
        assert program.workers == [child.pid]
        assert rss(child.pid) == pytest.approx(child.memory_info().rss, rel=0.2)

    psutil.wait_procs([child], 10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert rss(program.process.pid) == 0


def test_one_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
    with running([sys.executable, "-c", DEAF], os.environ) as program:
        wait_for(program, "here")

    assert program.process.returncode == -9


def test_one_that_ends_too_early_says_its_last_words() -> None:
    with running([sys.executable, "-c", "print('no such model'); raise SystemExit(3)"], os.environ) as program:
        program.process.wait()
        with pytest.raises(ProgramFailed, match=r"status 3:\nno such model"):
            program.check()


def test_names_with_blanks_and_brackets_do_not_confuse_the_table(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) S 9 (b c)) S 5 {'0 ' * 19}3 0\n")
    (tmp_path / "8").mkdir()
    (tmp_path / "self").mkdir()

    assert processes._from_proc(tmp_path) == {7: (5, 3 * os.sysconf("SC_PAGE_SIZE"))}
