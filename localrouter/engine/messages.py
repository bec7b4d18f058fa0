"""Messages between the serving process and a worker.

The serving process sends commands: `Load` first, then `Generate`, `Tokenize`, `Detokenize`, `Cancel`, `Stop`. The
worker sends reports: `Loading` from a backend with devices, one `Ready` or `LoadFailed`, then one `Step` per engine
step with its events, and `Tokens`. On the wire each message is a 4-byte big-endian length and that many bytes of
msgpack.

For every `Generate` the worker sends one `Accepted`, any number of `Piece`s and exactly one `Finished`; a request that
is rejected, or cancelled before its preprocessing, gets the `Finished` alone. `PromptLogprobs` come before the first
`Piece`, for a request that asks for them.
"""

from typing import Literal, TypeAlias

import msgspec

from localrouter.engine.fallbacks import Fallback
from localrouter.engine.generation_request import GenerationRequest, Segment
from localrouter.engine.model_info import ComputeDevice, ModelInfo
from localrouter.load_options import LoadOptions

FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "error"]
PieceKind: TypeAlias = Literal["text", "reasoning", "tool_call"]
Edge: TypeAlias = Literal["begin", "end"]
"""Side of a span that a delimiter stands on."""


class TokenUsage(msgspec.Struct, array_like=True, frozen=True):
    """Token usage of one request: tokens of the rendered prompt, and sampled ones with the end token."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """Sampled tokens that are reasoning, its delimiters included."""


class Timings(msgspec.Struct, array_like=True, frozen=True):
    """Durations of one request so far, in milliseconds."""

    queued_ms: float
    """From the end of preprocessing to the first step that computes tokens of the request."""
    prompt_ms: float
    """From the beginning of that step to the first sampled token."""
    predicted_ms: float
    """From the first sampled token to the latest one."""


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """Token usage and durations of a request that has not ended."""

    usage: TokenUsage
    timings: Timings


class Load(msgspec.Struct, tag=True, frozen=True):
    """First command: load the file at `path` with this backend."""

    path: str
    backend: Literal["llama", "echo"] = "llama"
    options: LoadOptions = LoadOptions()
    chat_template: str | None = None
    """Chat template to use in place of the file's own."""
    fallbacks: tuple[Fallback, ...] = ()
    """Safer values than those of `options`; of two for one option the later counts."""


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Command to serve a generation request. `id` is unique among the unfinished requests of a worker."""

    id: int
    request: GenerationRequest


class Tokenize(msgspec.Struct, tag=True, frozen=True):
    """Question for the tokens of a text, with `begin` the begin-of-text token included where the model wants one."""

    id: int
    prompt: list[Segment]
    begin: bool = True


class Detokenize(msgspec.Struct, tag=True, frozen=True):
    """Question for the bytes that tokens stand for."""

    id: int
    tokens: list[int]


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Command to end a request and free its memory. Unknown ids are ignored: the request may have just ended."""

    id: int


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Command to free everything and exit."""


Command: TypeAlias = Load | Generate | Tokenize | Detokenize | Cancel | Stop


class Loading(msgspec.Struct, tag=True, frozen=True):
    """Report that the worker has placed the model and begins to read its weights."""

    device: ComputeDevice
    options: LoadOptions
    """Options in use: those of `Load`, with the fallbacks that apply."""
    fallbacks: tuple[Fallback, ...] = ()
    """Fallbacks that apply on this device."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Report that the model is loaded and requests are taken."""

    info: ModelInfo


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """Report that the model could not be loaded; the worker exits. `message` has no path of the machine in it."""

    message: str


class Accepted(msgspec.Struct, tag=True, frozen=True):
    """Event: the prompt is tokenised, fits into the context, and is queued."""

    id: int
    prompt_tokens: int


class Logprob(msgspec.Struct, array_like=True, frozen=True):
    """Log probability of one token of an output, and of the likeliest tokens in its place."""

    piece: bytes
    """Bytes of the token."""
    value: float
    """Natural logarithm of its probability in the model's own distribution, before temperature and penalties."""
    top: tuple[tuple[bytes, float], ...] = ()
    """Bytes and log probabilities of the likeliest tokens in its place, likeliest first; control tokens: no bytes."""


class PromptToken(msgspec.Struct, array_like=True, frozen=True):
    """Log probability of one token of a prompt, and of the likeliest tokens in its place."""

    token: int
    piece: bytes
    """Bytes of the token; of a control token those of its spelling."""
    logprob: float | None = None
    """Natural logarithm of its probability in the model's own distribution; None for the first token of a prompt."""
    rank: int | None = None
    """1 for the likeliest token, one more for each likelier one; None for the first token of a prompt."""
    top: tuple[tuple[int, bytes, float], ...] = ()
    """Id, bytes and log probability of the likeliest tokens in its place, likeliest first."""


class PromptLogprobs(msgspec.Struct, tag=True, frozen=True):
    """Event: log probabilities of the next tokens of a prompt, before the first piece of the output.

    The tokens of these events, joined, are those of the whole prompt.
    """

    id: int
    tokens: tuple[PromptToken, ...]
    is_last: bool = False
    """Whether these tokens end the prompt."""


class Piece(msgspec.Struct, tag=True, frozen=True, omit_defaults=True):
    """Event: more text of an output, all of one kind and never cut inside a character.

    The engine alone decides the kind of text, so delimiters are not searched again. The texts of an output's pieces,
    joined, are the whole output.
    """

    id: int
    text: str
    logprobs: tuple[Logprob, ...] = ()
    """Tokens of the text where the request asks for logprobs; their bytes, joined, are the text's if it is UTF-8."""
    kind: PieceKind = "text"
    edge: Edge | None = None
    """Set where the text is a delimiter: it begins, or ends, a span of this kind."""
    progress: Progress | None = None
    """Progress of the request at this piece, where the request wants it."""


class Finished(msgspec.Struct, tag=True, frozen=True):
    """Event: the end of a request, sent exactly once. With reason "error" `code` and `message` say why."""

    id: int
    reason: FinishReason
    usage: TokenUsage
    code: str | None = None
    message: str | None = None
    timings: Timings | None = None
    """Durations of the whole request, where it wants them."""


class Tokens(msgspec.Struct, tag=True, frozen=True):
    """Reply to `Tokenize` and to `Detokenize`: tokens and the bytes of each, special tokens included."""

    id: int
    tokens: list[int]
    pieces: list[bytes]


Event: TypeAlias = Accepted | PromptLogprobs | Piece | Finished


class Gauge(msgspec.Struct, array_like=True, frozen=True):
    """Load of the engine after a step; all but the last two numbers are zero when it is idle."""

    waiting: int = 0
    running: int = 0
    cells_used: int = 0
    """KV cells of running requests."""
    cells_cached: int = 0
    """KV cells of ended requests, which requests with the same prefix share."""
    cells_archived: int = 0
    """KV cells of ended requests that are copied to the host store."""


class Step(msgspec.Struct, tag=True, frozen=True):
    """Report of one engine step: its events, and the load after it."""

    events: list[Event]
    gauge: Gauge


Report: TypeAlias = Loading | Ready | LoadFailed | Step | Tokens
