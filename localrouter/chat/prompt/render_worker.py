"""A process that renders prompts, started by `renderer_pool` as `python -m localrouter.chat.prompt.render_worker N`.

A chat template is a program that came with a model. Jinja's sandbox keeps it from files and from our objects, but not
from using all time and memory, so it runs in a process for which the kernel limits both.
"""

import sys

import msgspec

from localrouter.chat.prompt.chat_prompt import Prompt, PromptRequest, prompt_of
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.errors import InvalidRequest
from localrouter.sandbox.child import serve
from localrouter.sandbox.framing import frames
from localrouter.sandbox.limits import confine

MEMORY = 2 << 30
"""Bytes of address space of the process. A conversation of the largest body takes a tenth."""


class RenderCommand(msgspec.Struct, frozen=True):
    """One request for a prompt. The server decides which models the process keeps, so that the two always agree."""

    key: str
    """The `key` of the model's template."""
    request: PromptRequest
    learn: ModelTemplate | None = None
    """The model's template, when the process does not keep it yet."""
    forget: str | None = None
    """The key of a template that the process drops."""


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The prompt was rejected; the fields are those of InvalidRequest."""

    message: str
    param: str | None
    code: str | None


class Rendered(msgspec.Struct, tag=True, frozen=True):
    """The rendered prompt."""

    prompt: Prompt


Reply = Refused | Rendered


class RenderWorker:
    """Answers commands, and keeps the templates of models between them."""

    def __init__(self) -> None:
        self._models: dict[str, ModelTemplate] = {}

    def answer(self, body: bytes) -> bytes:
        """Return the reply to a RenderCommand, both as JSON, which unlike msgpack does not limit integers."""
        command = msgspec.json.decode(body, type=RenderCommand)
        if command.forget is not None:
            del self._models[command.forget]
        if command.learn is not None:
            self._models[command.key] = command.learn
        try:
            reply: Reply = Rendered(prompt_of(self._models[command.key], command.request))
        except InvalidRequest as error:
            reply = Refused(error.message, error.param, error.reason)
        return msgspec.json.encode(reply)


def main() -> None:
    """Limit the time and memory of this process, then answer commands."""
    confine(MEMORY)
    serve(RenderWorker().answer, frames(sys.stdin.buffer), sys.stdout.buffer, float(sys.argv[1]))


if __name__ == "__main__":
    main()
