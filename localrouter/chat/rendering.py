"""The process that renders prompts: `python -m localrouter.chat.rendering SECONDS`, started by `renderer`.

A chat template is a program that came with a model. Jinja's sandbox keeps it from files and from our objects, but not
from using all time and memory, so it runs in a process for which the system counts both.
"""

import sys
from typing import BinaryIO

import msgspec

from localrouter.chat.prompt import Prompt, PromptRequest, prompt_of
from localrouter.confinement import computing, confine, framed, frames
from localrouter.errors import InvalidRequest

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


def serve(requests: BinaryIO, replies: BinaryIO, seconds: float) -> None:
    """Answer requests until there are no more. The kernel ends the process when one takes `seconds` of computing."""
    for body in frames(requests):
        with computing(seconds):
            reply = framed(msgspec.json.encode(answered(body)))  # JSON, which bounds no integers
        replies.write(reply)
        replies.flush()


def main() -> None:
    """Bound what this process may use, then serve."""
    confine(MEMORY)
    serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))


if __name__ == "__main__":
    main()
