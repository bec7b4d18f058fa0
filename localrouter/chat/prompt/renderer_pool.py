"""Renders prompts in child processes, where a template can neither block the server nor use up its memory."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import msgspec

from localrouter.chat.prompt.chat_prompt import Prompt, PromptRequest
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.chat.prompt.render_worker import Refused, RenderCommand, Rendered
from localrouter.chat.prompt.template import ADVICE, LARGE
from localrouter.errors import InvalidRequest, ShuttingDown
from localrouter.sandbox.child import command
from localrouter.sandbox.framing import LENGTH_BYTES, framed
from localrouter.sandbox.limits import OUT_OF_TIME

SECONDS = 10.0
"""CPU seconds for one prompt. Gemma 4's template, whose time grows with the square of the messages, renders some 2,000
messages in this time."""
LONGEST_REPLY = 1 << 29
"""Bytes of a reply; a longer one is not read, and the process ends."""
MOST = 4
"""Processes that render at the same time; further requests wait."""
KEPT_MODELS = 8
"""Models whose templates a process keeps; the one used longest ago is dropped first."""
PATIENCE = 0.1
"""Seconds to wait for a running process before another is started, which takes twice as long."""


class RendererPool:
    """Renders prompts in child processes, which start when needed; one idle process is kept for the next request."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST, patience: float = PATIENCE) -> None:
        """`seconds` of CPU time for a prompt, at most `most` processes, another after `patience` seconds."""
        self._seconds, self._most, self._patience = seconds, most, patience
        self._processes = 0
        self._idle: list[_Process] = []
        self._freed = asyncio.Event()
        self._asking: set[asyncio.Task[Refused | Rendered]] = set()

    async def render(self, model: ModelTemplate, request: PromptRequest) -> Prompt:
        """Return the prompt for a request to a model.

        Raises InvalidRequest when the template is broken, rejects the conversation, or takes too much time or memory,
        and ShuttingDown when the pool is closed meanwhile.
        """
        process = await self._take()
        asking = asyncio.create_task(self._ask(process, model, request))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        # A client that leaves does not end the process: to start another takes longer than nearly every prompt.
        try:
            reply = await asyncio.shield(asking)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ShuttingDown("The server is shutting down; the prompt was not rendered.") from None
        if isinstance(reply, Refused):
            raise InvalidRequest(reply.message, param=reply.param, code=reply.code)
        return reply.prompt

    async def _ask(self, process: "_Process", model: ModelTemplate, request: PromptRequest) -> Refused | Rendered:
        """Return the reply of a process, then keep the process for the next request or end it."""
        is_kept = False
        try:
            reply = await process.ask(model, request)
            is_kept = process.is_alive and not self._idle and not (isinstance(reply, Refused) and reply.code == LARGE)
            return reply
        finally:
            if is_kept:
                self._idle.append(process)
                self._freed.set()
            else:
                await self._end(process)

    async def _take(self) -> "_Process":
        """Return an idle process, one that becomes idle soon, or else a new one."""
        wanted = 1
        while True:
            self._freed.clear()
            while self._idle:
                process = self._idle.pop()
                if process.is_alive:
                    return process
                await self._end(process)
            if self._processes < wanted:
                return await self._start()
            try:
                async with asyncio.timeout(self._patience):
                    await self._freed.wait()
            except TimeoutError:
                wanted = self._most

    async def _start(self) -> "_Process":
        self._processes += 1
        try:
            return await _Process.start(self._seconds)
        except BaseException:
            self._gone()
            raise

    async def _end(self, process: "_Process") -> None:
        try:
            await process.end()
        finally:
            self._gone()

    def _gone(self) -> None:
        self._processes -= 1
        self._freed.set()

    async def close(self) -> None:
        """End all processes; requests that still wait for a prompt fail with ShuttingDown."""
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        while self._idle:
            await self._end(self._idle.pop())


@dataclass
class _Process:
    """One process, the pipes to it, and the models whose templates it keeps."""

    process: asyncio.subprocess.Process
    seconds: float
    known: list[str] = field(default_factory=list)
    """Keys of the templates that the process keeps, the one used last at the end."""

    @classmethod
    async def start(cls, seconds: float) -> Self:
        return cls(
            await asyncio.create_subprocess_exec(
                *command("localrouter.chat.prompt.render_worker", seconds),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            ),
            seconds,
        )

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    async def ask(self, model: ModelTemplate, request: PromptRequest) -> Refused | Rendered:
        """Return the reply to a request: Refused when the process ended over it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(framed(self.command(model, request)))
            await self.process.stdin.drain()
            length = int.from_bytes(await self.process.stdout.readexactly(LENGTH_BYTES), "big")
            if length > LONGEST_REPLY:
                self.process.kill()
                raise ConnectionError(f"a reply of {length} bytes")
            body = await self.process.stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.process.wait()  # without a kill, which would take its status from who waits for it
            return self._ended(model)
        return msgspec.json.decode(body, type=Refused | Rendered)

    def command(self, model: ModelTemplate, request: PromptRequest) -> bytes:
        """Return the command for a request. It has the model's template where the process does not keep it yet."""
        known = [key for key in self.known if key != model.key]
        forget = known.pop(0) if len(known) == KEPT_MODELS else None
        learn = None if model.key in self.known else model
        body = msgspec.json.encode(RenderCommand(model.key, request, learn, forget))
        self.known = [*known, model.key]
        return body

    async def end(self) -> None:
        """Kill the process; it holds nothing that would be lost."""
        assert self.process.stdin is not None
        if self.is_alive:
            with suppress(ProcessLookupError):
                self.process.kill()
        self.process.stdin.close()
        await self.process.wait()

    def _ended(self, model: ModelTemplate) -> Refused:
        name = f"The model's chat template (sha256 {model.sha256[:12]})"
        if self.process.returncode == OUT_OF_TIME:
            return Refused(
                f"{name} took more than {self.seconds:g} seconds for this conversation. "
                f"Send a shorter one; if short ones are slow too, the template is broken. {ADVICE}",
                param="messages",
                code="template_too_slow",
            )
        return Refused(
            f"{name} ended the process that rendered this conversation (status {self.process.returncode}). {ADVICE}",
            param="messages",
            code="template_failed",
        )
