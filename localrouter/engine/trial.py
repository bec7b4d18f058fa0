"""Tries grammars in a process of their own, before the worker compiles them: some would end it, or never be done.

A chain of a few thousand rules overflows the stack of llguidance, and thirty patterns that must all match take it
longer than anybody waits, whatever its limits say (seen in 1.9.1). What is tried is the text alone, with a vocabulary
of single bytes: what makes a grammar dangerous does not depend on tokens, and a process with all of a real vocabulary
would take a second to start and the memory twice.

`python -m localrouter.engine.trial SECONDS` reads the vocabulary's marks and then grammars, and answers each with a
byte.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

import msgspec

from localrouter.confinement import computing, confine, framed, frames
from localrouter.engine.grammar import GrammarRefused, Grammars, GrammarVocabulary
from localrouter.engine.messages import Grammar

SECONDS = 2.0
"""Of computing for one grammar. The slowest useful ones, objects of 2,000 properties, take a sixth of it."""
MEMORY = 1 << 30
"""Bytes of address space of the process."""
STACK = 4 << 20
"""Bytes of the stack that a trial has. The worker has more (`ROOM`), so what passes here passes there."""
ROOM = 4 * STACK
"""Bytes that the stack of the thread has to have that compiles what passed."""
_SURVIVED = b"."
_FIRST_MARK = 256
_NUMBERED = re.compile(r"<\[[\d\s,^-]*\]>")
"""How a grammar names tokens by their numbers, which here are others."""


class Trial:
    """The process, started when it is needed; for one thread."""

    def __init__(self, marks: Sequence[bytes], seconds: float = SECONDS) -> None:
        """`marks` are how the tokens are written that a grammar can name; there is at least one."""
        self._marks = list(marks)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], int | None] = lambda: None
        """Ends the process and returns its status; called at the latest when the trial is not used any more."""

    def danger(self, lark: str) -> str | None:
        """Return in words why a grammar must not be compiled; None when it may be, which says not that it is right.

        Raises GrammarRefused when it cannot be tried now.
        """
        try:
            process = self._process = self._process or self._started()
        except OSError as error:
            raise GrammarRefused(f"It cannot be tried, for no process can be started: {error.strerror}.") from error
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(framed(_NUMBERED.sub(f"<[{_FIRST_MARK}]>", lark).encode()))
            process.stdin.flush()
            if process.stdout.read(1) == _SURVIVED:
                return None
        self._process = None
        if self._end() == -signal.SIGPROF:
            return f"Compiling it takes more than {self._seconds:g} seconds."
        return "Compiling it takes too much memory, or its rules refer to each other too deeply."

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "localrouter.engine.trial", f"{self._seconds:f}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where native code says its last words
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # each thread of a large machine would take address space
        )
        self._end = weakref.finalize(self, _ended, process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(framed(msgspec.json.encode(self._marks)))
        return process


def _ended(process: subprocess.Popen[bytes]) -> int:
    """End the process, if it has not ended by itself; return its status."""
    with process:
        if process.stdin:
            with suppress(BrokenPipeError):
                process.stdin.close()
        return process.wait()


def serve(requests: BinaryIO, replies: BinaryIO, seconds: float) -> None:
    """Compile what comes, with the first mask. The kernel ends the process when one takes `seconds` of computing."""
    bodies = frames(requests)
    marks = msgspec.json.decode(next(bodies), type=list[bytes])
    grammars = Grammars(lambda: _vocabulary(marks))
    for body in bodies:
        with computing(seconds), suppress(GrammarRefused):
            grammars.constraint(Grammar(body.decode()))
        replies.write(_SURVIVED)
        replies.flush()


def _vocabulary(marks: list[bytes]) -> GrammarVocabulary:
    """All bytes, and the marks after them."""
    pieces = [bytes([byte]) for byte in range(_FIRST_MARK)] + marks
    return GrammarVocabulary(pieces, range(_FIRST_MARK, len(pieces)), [_FIRST_MARK], lambda text: list(text.encode()))


def main() -> None:
    """Bound what this process may use, then serve, on a stack of a size that is known."""
    confine(MEMORY)
    threading.stack_size(STACK)
    threading.Thread(target=serve, args=(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))).start()


if __name__ == "__main__":
    main()
