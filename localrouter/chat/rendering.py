"""The process that renders prompts: `python -m localrouter.chat.rendering SECONDS`, started by `renderer`.

A chat template is a program that came with a model. Jinja's sandbox keeps it from files and from our objects, but not
from using all time and memory, so it runs in a process for which the system counts both.
"""

import resource
import signal
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec

from localrouter.chat.prompt import Prompt, PromptRequest, prompt_of
from localrouter.errors import InvalidRequest

LENGTH_BYTES = 4
MEMORY = 2 << 30
"""Bytes of address space of the process. A conversation of the largest body takes a tenth."""


class Refused(msgspec.Struct, tag=True, frozen=True):
    """There is no prompt, for a reason that the client can be told: the fields of InvalidRequest."""

    message: str
    param: str | None
    code: str | None


class Rendered(msgspec.Struct, tag=True, frozen=True):
    """The prompt."""

    prompt: Prompt


Reply = Refused | Rendered


def answered(body: bytes) -> Reply:
    """Return what becomes of one request."""
    try:
        return Rendered(prompt_of(msgspec.json.decode(body, type=PromptRequest)))
    except InvalidRequest as error:
        return Refused(error.message, error.param, error.reason)


def framed(message: Reply | PromptRequest) -> bytes:
    """Return a message as it crosses the pipe: 4 bytes of length, big-endian, and JSON, which bounds no integers."""
    body = msgspec.json.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def serve(requests: BinaryIO, replies: BinaryIO, seconds: float) -> None:
    """Answer requests until there are no more. The kernel ends the process when one takes `seconds` of computing."""
    while len(length := requests.read(LENGTH_BYTES)) == LENGTH_BYTES:
        body = requests.read(int.from_bytes(length, "big"))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply = framed(answered(body))
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(reply)
        replies.flush()


def main() -> None:
    """Bound what this process may use, then serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server decides when this ends: it closes the pipe
    with suppress(ValueError, OSError):  # not every system knows this limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))


if __name__ == "__main__":
    main()
