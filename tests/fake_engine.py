"""An engine that plays back what it is told to, and remembers what it was asked."""

from collections.abc import AsyncGenerator, Sequence

from localrouter.chat.prompt.chat_prompt import Prompt, PromptRequest, prompt_of
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Event, Finished, FinishReason, Piece, Tokens, TokenUsage
from localrouter.engine.model_info import ComputeDevice, ModelInfo
from localrouter.engine.output.output import Output, OutputSpan
from localrouter.engine.output.reasoning_budget import Reading
from localrouter.engine.output.spans import Spans

INFO = ModelInfo(
    architecture="fake",
    context=100,
    cells=100,
    max_sequences=4,
    parameters=0,
    size=0,
    vocabulary=10,
    device=ComputeDevice("CPU", 0, 1),
    threads=1,
    chat_template=None,
    bos_token="",
    eos_token="",
    control_tokens=[],
)


class HereRenderer:
    """Renders in this process, which takes no time to start."""

    async def render(self, model: ModelTemplate, request: PromptRequest) -> Prompt:
        return prompt_of(model, request)

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


def as_read(request: GenerationRequest, looks: Sequence[list[Event]]) -> list[list[Event]]:
    """Return the looks with their texts cut into the kinds that an engine tells apart, by what the request asks."""
    spans = Spans(request.thinking, request.calls, INFO.special_tokens, structured=request.structured)
    tells = any(isinstance(event, Piece) and event.logprobs for look in looks for event in look)
    answer = Output(Sampling(logprobs=0 if tells else None), Reading(spans))
    read = ([some for event in look for some in _as_read(answer, event)] for look in looks)
    return [look for look in read if look]


def _as_read(answer: Output, event: Event) -> list[Event]:
    if isinstance(event, Finished):
        return [*_pieces(answer.flush()), event]
    if not isinstance(event, Piece):
        return [event]
    if not event.logprobs:
        return _pieces(answer.feed(0, event.text.encode()))
    return [piece for token in event.logprobs for piece in _pieces(answer.feed(0, token.piece, token))]


def _pieces(said: Sequence[OutputSpan]) -> list[Event]:
    return [Piece(1, span.text, logprobs, span.kind, span.edge) for span, logprobs in said]


class FakeEngine:
    """Hands out its generations one after the other, read as an engine reads them; a token of it is a character."""

    model = "Fake-1B-Q8_0"

    def __init__(self, *generations: FakeGeneration, info: ModelInfo = INFO) -> None:
        self.info = info
        self.generations = list(generations)
        self.asked: list[GenerationRequest] = []

    def submit(self, request: GenerationRequest) -> FakeGeneration:
        self.asked.append(request)
        generation = self.generations[len(self.asked) - 1]
        generation.looks = as_read(request, generation.looks)
        return generation

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        text = "".join(segment.text for segment in prompt)
        return Tokens(0, [ord(character) for character in text], [character.encode() for character in text])

    async def detokenize(self, tokens: list[int]) -> Tokens:
        return Tokens(0, tokens, [chr(token).encode() for token in tokens])


def text_of(request: GenerationRequest) -> str:
    """Return the prompt that the engine was asked with."""
    return "".join(segment.text for segment in request.prompt)


def generation(
    *texts: str, reason: FinishReason = "stop", usage: TokenUsage | None = None, code: str = "code"
) -> FakeGeneration:
    """Return a generation that says these texts, each at a look of its own."""
    pieces: list[list[Event]] = [[Piece(1, text)] for text in texts]
    return FakeGeneration([*pieces, [Finished(1, reason, usage or TokenUsage(3, 2), code, "why")]])
