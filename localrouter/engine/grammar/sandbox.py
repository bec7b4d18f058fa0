"""Sandbox in which each new grammar is compiled first, because some grammars crash llguidance or never finish.

A chain of a few thousand rules overflows llguidance's stack, and thirty patterns that must all match keep it busy past
every limit of its own (seen in 1.9.1). The sandbox compiles with a vocabulary of single bytes: whether a grammar is
dangerous does not depend on the tokens, and a full vocabulary would cost a second at start and its memory twice.

`python -m localrouter.engine.grammar.sandbox SECONDS` reads the special tokens of the vocabulary, then grammars, and
answers each grammar with one byte.
"""

import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

import msgspec

from localrouter.engine.grammar.constraint import GrammarRefused, Grammars, GrammarVocabulary
from localrouter.engine.messages import Grammar
from localrouter.sandbox.child import command, serve
from localrouter.sandbox.framing import framed, frames
from localrouter.sandbox.limits import OUT_OF_TIME, confine

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


class GrammarSandbox:
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
            if next(frames(process.stdout), None) == _SURVIVED:
                return None
        self._process = None
        if self._end() == OUT_OF_TIME:
            return f"Compiling it takes more than {self._seconds:g} seconds."
        return "Compiling it takes too much memory, or its rules refer to each other too deeply."

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command("localrouter.engine.grammar.sandbox", self._seconds),
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


def compile_grammars(requests: BinaryIO, replies: BinaryIO, seconds: float) -> None:
    """Compile each grammar that comes, its first mask included, with `seconds` of CPU time for each."""
    bodies = frames(requests)
    marks = msgspec.json.decode(next(bodies), type=list[bytes])
    grammars = Grammars(lambda: _vocabulary(marks))

    def survives(lark: bytes) -> bytes:
        with suppress(GrammarRefused):
            grammars.constraint(Grammar(lark.decode()))
        return _SURVIVED

    serve(survives, bodies, replies, seconds)


def _vocabulary(marks: list[bytes]) -> GrammarVocabulary:
    """All bytes, and the marks after them."""
    pieces = [bytes([byte]) for byte in range(_FIRST_MARK)] + marks
    return GrammarVocabulary(pieces, range(_FIRST_MARK, len(pieces)), [_FIRST_MARK], lambda text: list(text.encode()))


def main() -> None:
    """Bound what this process may use, then serve, on a stack of a size that is known."""
    confine(MEMORY)
    threading.stack_size(STACK)
    threading.Thread(target=compile_grammars, args=(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))).start()


if __name__ == "__main__":
    main()
