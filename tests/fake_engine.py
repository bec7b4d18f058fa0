"""An engine that plays back what it is told to, and remembers what it was asked."""

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

from localrouter.chat.prompt import Prompt, PromptRequest, prompt_of
from localrouter.engine.messages import (
    Device,
    Event,
    Finished,
    FinishReason,
    Grammar,
    ModelInfo,
    Piece,
    Sampling,
    Segment,
    Thinking,
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


class Asked(NamedTuple):
    """What `submit` was given."""

    prompt: list[Segment]
    sampling: Sampling
    max_tokens: int | None
    grammar: Grammar | None
    thinking: Thinking | None
    markers: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.prompt)


class FakeEngine:
    """Hands out its generations one after the other; a token of it is a character."""

    model = "Fake-1B-Q8_0"

    def __init__(self, *generations: FakeGeneration, info: ModelInfo = INFO) -> None:
        self.info = info
        self.generations = list(generations)
        self.asked: list[Asked] = []

    def submit(
        self,
        prompt: list[Segment],
        sampling: Sampling,
        max_tokens: int | None,
        *,
        grammar: Grammar | None = None,
        thinking: Thinking | None = None,
        markers: tuple[str, ...] = (),
        tokens: list[int] | None = None,
    ) -> FakeGeneration:
        assert tokens is None, "a conversation is not given in tokens"
        self.asked.append(Asked(prompt, sampling, max_tokens, grammar, thinking, markers))
        return self.generations[len(self.asked) - 1]

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        text = "".join(segment.text for segment in prompt)
        return Tokens(0, [ord(character) for character in text], [character.encode() for character in text])

    async def detokenize(self, tokens: list[int]) -> Tokens:
        return Tokens(0, tokens, [chr(token).encode() for token in tokens])


def generation(
    *texts: str, reason: FinishReason = "stop", usage: Usage | None = None, code: str = "code"
) -> FakeGeneration:
    """Return a generation that says these texts, each at a look of its own."""
    pieces: list[list[Event]] = [[Piece(1, text)] for text in texts]
    return FakeGeneration([*pieces, [Finished(1, reason, usage or Usage(3, 2), code, "why")]])
