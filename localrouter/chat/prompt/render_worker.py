"""The process that renders prompts: `python -m localrouter.chat.prompt.render_worker SECONDS`, started by `renderer`.

A chat template is a program that came with a model. Jinja's sandbox keeps it from files and from our objects, but not
from using all time and memory, so it runs in a process for which the system counts both.
"""

import sys

import msgspec

from localrouter.chat.prompt.chat_prompt import Prompt, PromptRequest, prompt_of
from localrouter.errors import InvalidRequest
from localrouter.sandbox.child import serve
from localrouter.sandbox.framing import frames
from localrouter.sandbox.limits import confine

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


def answered(body: bytes) -> bytes:
    """Return the reply to a PromptRequest, both as JSON, which unlike msgpack limits no integer."""
    try:
        reply: Reply = Rendered(prompt_of(msgspec.json.decode(body, type=PromptRequest)))
    except InvalidRequest as error:
        reply = Refused(error.message, error.param, error.reason)
    return msgspec.json.encode(reply)


def main() -> None:
    """Limit what this process may use, then answer requests."""
    confine(MEMORY)
    serve(answered, frames(sys.stdin.buffer), sys.stdout.buffer, float(sys.argv[1]))


if __name__ == "__main__":
    main()
