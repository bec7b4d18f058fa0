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

from localrouter.engine.generation_request import Grammar
from localrouter.engine.grammar.constraint import GrammarRefused, Grammars, GrammarVocabulary
from localrouter.sandbox.child import command, serve
from localrouter.sandbox.framing import framed, frames
from localrouter.sandbox.limits import OUT_OF_TIME, confine

SECONDS = 2.0
"""Seconds of CPU time for one grammar. The slowest useful ones, objects of 2,000 properties, take a sixth of them."""
MEMORY = 1 << 30
"""Bytes of address space of the sandbox."""
STACK = 4 << 20
"""Bytes of the sandbox's stack. The worker's is larger, so a grammar that compiles here compiles there."""
WORKER_STACK = 4 * STACK
"""Bytes of the stack of the worker's thread that compiles grammars after the sandbox."""
_SURVIVED = b"."
_FIRST_SPECIAL = 256
_NUMBERED = re.compile(r"<\[[\d\s,^-]*\]>")
"""Special tokens in a grammar, by their ids, which differ in the vocabulary of the sandbox."""


class GrammarSandbox:
    """Sandbox process, started with the first grammar; for one thread."""

    def __init__(self, special_tokens: Sequence[bytes], seconds: float = SECONDS) -> None:
        """`special_tokens` are the spellings of the tokens that a grammar can name; at least one."""
        self._special_tokens = list(special_tokens)
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], int | None] = lambda: None
        """Ends the process and returns its status; called at the latest when this object is collected."""

    def danger(self, lark: str) -> str | None:
        """Return the reason why a grammar must not be compiled; None when it may be, though it may have errors.

        Raises GrammarRefused when the sandbox cannot be started.
        """
        try:
            process = self._process = self._process or self._started()
        except OSError as error:
            raise GrammarRefused(f"It cannot be checked, for no process can be started: {error.strerror}.") from error
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(framed(_NUMBERED.sub(f"<[{_FIRST_SPECIAL}]>", lark).encode()))
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
            stderr=subprocess.DEVNULL,  # native code prints there when it crashes
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # each thread of a large machine would take address space
        )
        self._end = weakref.finalize(self, _ended, process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(framed(msgspec.json.encode(self._special_tokens)))
        return process


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Close the pipe, wait for the end of the process, and return its status."""
    with process:
        if process.stdin:
            with suppress(BrokenPipeError):
                process.stdin.close()
        return process.wait()


def compile_grammars(requests: BinaryIO, replies: BinaryIO, seconds: float) -> None:
    """Compile each requested grammar, its first mask included, with `seconds` of CPU time for each."""
    bodies = frames(requests)
    special_tokens = msgspec.json.decode(next(bodies), type=list[bytes])
    grammars = Grammars(lambda: _vocabulary(special_tokens))

    def survives(lark: bytes) -> bytes:
        with suppress(GrammarRefused):
            grammars.constraint(Grammar(lark.decode()))
        return _SURVIVED

    serve(survives, bodies, replies, seconds)


def _vocabulary(special_tokens: list[bytes]) -> GrammarVocabulary:
    """Return a vocabulary of all bytes, and the special tokens after them."""
    pieces = [bytes([byte]) for byte in range(_FIRST_SPECIAL)] + special_tokens
    return GrammarVocabulary(
        pieces, range(_FIRST_SPECIAL, len(pieces)), [_FIRST_SPECIAL], lambda text: list(text.encode())
    )


def main() -> None:
    """Limit this process, then serve on a stack of known size."""
    confine(MEMORY)
    threading.stack_size(STACK)
    threading.Thread(target=compile_grammars, args=(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))).start()


if __name__ == "__main__":
    main()
