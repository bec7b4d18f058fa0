"""An engine that plays back what it is told to, and remembers what it was asked."""

from collections.abc import AsyncGenerator, Sequence

from localrouter.chat.prompt import Prompt, PromptRequest, prompt_of
from localrouter.engine.messages import (
    Device,
    Event,
    Finished,
    FinishReason,
    Generate,
    ModelInfo,
    Piece,
    Segment,
    Tokens,
    Usage,
)

INFO = ModelInfo(
    architecture="fake",
    context=100,
    cells=100,
    max_sequences=4,
    parameters=0,
    size=0,
    vocabulary=10,
    device=Device("CPU", 0, 1),
    threads=1,
    chat_template=None,
    bos_token="",
    eos_token="",
    control_tokens=[],
)


class HereRenderer:
    """Renders in this process, which takes no time to start."""

    async def render(self, request: PromptRequest) -> Prompt:
        return prompt_of(request)

    async def close(self) -> None:
        pass


class FakeGeneration:
    """Plays back events, each list at one look."""

    def __init__(self, looks: Sequence[list[Event]], refusal: Exception | None = None) -> None:
        self.looks, self.refusal, self.cancelled = looks, refusal, 0

    async def accepted(self) -> int:
        if self.refusal:
            raise self.refusal
        return 3

    async def events(self) -> AsyncGenerator[list[Event], None]:
        for look in self.looks:
            yield look

    def cancel(self) -> None:
        self.cancelled += 1


class FakeEngine:
    """Hands out its generations one after the other; a token of it is a character."""

    model = "Fake-1B-Q8_0"

    def __init__(self, *generations: FakeGeneration, info: ModelInfo = INFO) -> None:
        self.info = info
        self.generations = list(generations)
        self.asked: list[Generate] = []

    def submit(self, command: Generate) -> FakeGeneration:
        self.asked.append(command)
        return self.generations[len(self.asked) - 1]

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        text = "".join(segment.text for segment in prompt)
        return Tokens(0, [ord(character) for character in text], [character.encode() for character in text])

    async def detokenize(self, tokens: list[int]) -> Tokens:
        return Tokens(0, tokens, [chr(token).encode() for token in tokens])


def text_of(command: Generate) -> str:
    """Return the prompt that the engine was asked with."""
    return "".join(segment.text for segment in command.prompt)


def generation(
    *texts: str, reason: FinishReason = "stop", usage: Usage | None = None, code: str = "code"
) -> FakeGeneration:
    """Return a generation that says these texts, each at a look of its own."""
    pieces: list[list[Event]] = [[Piece(1, text)] for text in texts]
    return FakeGeneration([*pieces, [Finished(1, reason, usage or Usage(3, 2), code, "why")]])
