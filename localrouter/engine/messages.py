"""What crosses the border between the serving process and a worker.

Commands go down (`Load` first, then `Generate`, `Tokenize`, `Detokenize`, `Cancel`, `Stop`), reports come up: `Loading`
from a backend with devices, one `Ready` or `LoadFailed`, then one `Step` per engine step with everything that happened
in it, and `Tokens`. On the wire each message is a 4-byte big-endian length and that many bytes of msgpack.

For every `Generate` the worker sends one `Accepted`, any number of `Piece`s and exactly one `Finished`; a request that
is refused, or cancelled before its prompt was looked at, gets the `Finished` alone.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from localrouter.memory.plan import SEQUENCES, UBATCH, KvType, Switch

TemplateSource: TypeAlias = Literal[
    "model", "manifest", "fallback chatml", "fallback gemma4", "fallback gemma", "fallback plain"
]
FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "error"]
PieceKind: TypeAlias = Literal["text", "reasoning", "tool_call"]
Edge: TypeAlias = Literal["begin", "end"]
"""Which side of a span a delimiter stands on."""


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """A run of prompt text. Only where `control` is true may it become control tokens; elsewhere it is plain text."""

    text: str
    control: bool


class Sampling(msgspec.Struct, array_like=True, frozen=True):
    """How the next token is drawn, and what ends the answer. `temperature` 0 is greedy; `seed` None draws a fresh one.

    The defaults leave the model's distribution as it is. `sampling` says in which order the fields act.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    """The likeliest so many; 0 keeps all."""
    min_p: float = 0.0
    """The least probability, as a share of the likeliest token's; 0 keeps all."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    """Above 0; 1 is none."""
    logit_bias: dict[int, float] = {}
    """What is added to the logits of tokens, all of which the vocabulary has."""
    logprobs: int | None = None
    """Of how many of the likeliest tokens to tell the log probability, beside the drawn one's; None: not even that."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer before them; none is empty."""


class TokenUsage(msgspec.Struct, array_like=True, frozen=True):
    """Tokens as the tokenizer counts them: of the rendered prompt, and sampled (the end token included)."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """Of those sampled, the ones of reasoning, its delimiters included."""


class Thinking(msgspec.Struct, array_like=True, frozen=True):
    """The delimiters of reasoning, and how long it may be.

    Where the vocabulary has a delimiter as a token, only that token is one; elsewhere its characters are.
    """

    begin: str
    end: str
    is_open: bool = False
    """Whether the prompt ends inside reasoning."""
    budget: int | None = None
    """After so many tokens of reasoning, delimiters not counted, the engine writes `end` in the model's place.

    A line that is not ended is ended first. Inside a character, and where the grammar does not allow it, the end waits.
    None: reasoning is as long as the model likes.
    """


class ToolCalls(msgspec.Struct, array_like=True, frozen=True):
    """The delimiters of a tool call, recognised as those of `Thinking` are."""

    begin: str
    end: str
    quotes: tuple[str, str] | None = None
    """What stands around text inside a call in which the characters of `end` are text: JSON strings for instance."""
    escape: str = ""
    """A character after which, between quotes, the next one is text."""


class Grammar(msgspec.Struct, array_like=True, frozen=True):
    """What an answer has to obey from its first token to its last, in llguidance's dialect of Lark."""

    lark: str


class LoadOptions(msgspec.Struct, frozen=True):
    """How to load a model; the fields are those of `config.EngineSettings`."""

    context: int | None = None
    cells: int | None = None
    max_sequences: int = SEQUENCES
    gpu_layers: int | Literal["auto", "all"] = "auto"
    device: str | None = None
    tensor_split: tuple[float, ...] | None = None
    require_gpu: bool = False
    threads: int | None = None
    extra_buffers: Switch = "auto"
    kv_type: KvType = "f16"
    flash_attention: Switch = "auto"
    swa_full: Switch = "auto"
    ubatch: int = UBATCH
    cache_ram: int | None = None
    gpu_sampling: Switch = "auto"
    step_ms: int = 300


class Fallback(msgspec.Struct, frozen=True):
    """A setting with which a model failed on a device, the safer value in its place, and why."""

    device: str
    """ggml's names of the GPUs, as `Device.ids`; the fallback does not apply on others."""
    setting: Literal["gpu_sampling", "flash_attention", "gpu_layers"]
    value: str | int
    why: str


def applicable(asked: LoadOptions, fallbacks: Sequence[Fallback], device: str) -> tuple[Fallback, ...]:
    """Return the fallbacks for this device that change nothing which the operator has chosen.

    Also for a quantized cache flash attention stays, and where a GPU is required, layers on it.
    """

    def is_free(each: Fallback) -> bool:
        if each.setting == "flash_attention" and asked.kv_type != "f16":
            return False
        if each.setting == "gpu_layers" and each.value == 0 and asked.require_gpu:
            return False
        return bool(getattr(asked, each.setting) == "auto")

    return tuple(each for each in fallbacks if each.device == device and is_free(each))


def with_fallbacks(asked: LoadOptions, fallbacks: Sequence[Fallback], device: str) -> LoadOptions:
    """Return the settings, with the fallbacks that apply on this device in place of those that failed."""
    safer = {each.setting: each.value for each in applicable(asked, fallbacks, device)}
    return msgspec.structs.replace(asked, **safer)


class Load(msgspec.Struct, tag=True, frozen=True):
    """The first command: load this file with this backend ("llama" or "echo")."""

    path: str
    backend: Literal["llama", "echo"] = "llama"
    options: LoadOptions = LoadOptions()
    chat_template: str | None = None
    """The template to use instead of the file's own."""
    fallbacks: tuple[Fallback, ...] = ()
    """Safer settings than those of `options`, the later of one setting before the earlier."""


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Continue `prompt`, to the context's end when `max_tokens` is None.

    `id` is the caller's, unique among its unfinished requests.
    """

    id: int
    prompt: list[Segment]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    grammar: Grammar | None = None
    thinking: Thinking | None = None
    """How reasoning is found. None: there is none, and what looks like it is text."""
    delimiters: tuple[str, ...] = ()
    """Control tokens whose text belongs to the answer's; all others are silent. Delimiters need not be listed."""
    calls: ToolCalls | None = None
    """How tool calls are found. None: there are none, and what looks like one is text."""
    tokens: list[int] | None = None
    """The tokens of the prompt, taken as they are, in place of `prompt`; the vocabulary has all of them."""
    structured: bool = False
    """Whether the grammar holds text to a form: once text has begun, white space aside, nothing is a delimiter."""


class Tokenize(msgspec.Struct, tag=True, frozen=True):
    """Which tokens is this text? `begin` adds the token that begins a text, where the model wants one."""

    id: int
    prompt: list[Segment]
    begin: bool = True


class Detokenize(msgspec.Struct, tag=True, frozen=True):
    """Which text are these tokens?"""

    id: int
    tokens: list[int]


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Nobody waits for this request any more. Unknown ids are ignored: it may have just ended."""

    id: int


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Free everything and exit."""


Command: TypeAlias = Load | Generate | Tokenize | Detokenize | Cancel | Stop


class ComputeDevice(msgspec.Struct, frozen=True):
    """Where a model runs. `layers` counts the output layer as llama.cpp does."""

    name: str
    offloaded_layers: int
    layers: int
    ids: str = ""
    """ggml's names of the GPUs that hold layers, separated by commas; empty on the CPU."""


class Loading(msgspec.Struct, tag=True, frozen=True):
    """The worker has decided what to load with, and begins to read the weights."""

    device: ComputeDevice
    options: LoadOptions
    """The settings that are used: those of `Load`, with the fallbacks that apply."""
    fallbacks: tuple[Fallback, ...] = ()
    """The fallbacks that apply on this device."""


class ModelInfo(msgspec.Struct, frozen=True):
    """What the worker knows of the model it loaded."""

    architecture: str
    context: int
    """Longest prompt plus answer of one request, in tokens."""
    cells: int
    max_sequences: int
    parameters: int
    size: int
    """Bytes of weights."""
    vocabulary: int
    device: ComputeDevice
    threads: int
    chat_template: str | None
    """None: the model has none, and nobody gave it one."""
    bos_token: str
    eos_token: str
    control_tokens: list[str]
    """Texts that the tokenizer reads as one control token each."""
    template_source: TemplateSource = "fallback chatml"
    """Where the chat template is from; a fallback is for a model without one, and in the format of its vocabulary."""
    special_tokens: dict[str, int] = {}
    """Token ids of the special tokens by text: control tokens, and delimiters the vocabulary defines (`<think>`)."""
    options: LoadOptions = LoadOptions()
    """The settings that the model was loaded with."""
    fallbacks: tuple[Fallback, ...] = ()
    """What was given up of the settings that were asked for, because the model failed with them."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The model is loaded and requests are taken."""

    info: ModelInfo


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """The model could not be loaded; the worker exits. `message` has no path of the machine in it."""

    message: str


class Accepted(msgspec.Struct, tag=True, frozen=True):
    """The prompt was tokenised and fits."""

    id: int
    prompt_tokens: int


class Logprob(msgspec.Struct, array_like=True, frozen=True):
    """One token of an answer, and how likely the model found it."""

    piece: bytes
    value: float
    """The natural logarithm of its probability, before temperature, penalties and all else."""
    top: tuple[tuple[bytes, float], ...] = ()
    """The bytes of the likeliest tokens in its place with their own, the likeliest first; control tokens have none."""


class Piece(msgspec.Struct, tag=True, frozen=True, omit_defaults=True):
    """More text of an answer, all of one kind and never cut inside a character.

    The engine alone decides the kind of text, so delimiters are not searched again. The texts of an output's pieces,
    joined, are all that the model has written.
    """

    id: int
    text: str
    logprobs: tuple[Logprob, ...] = ()
    """The tokens of the text where the request asks for them; their bytes join to its bytes if these are UTF-8."""
    kind: PieceKind = "text"
    edge: Edge | None = None
    """Set where the text is a delimiter: the one that begins, or ends, a span of this kind."""


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The one end of a request. With reason "error": `code` and `message` say why."""

    id: int
    reason: FinishReason
    usage: TokenUsage
    code: str | None = None
    message: str | None = None


class Tokens(msgspec.Struct, tag=True, frozen=True):
    """The answer to `Tokenize` and to `Detokenize`: tokens, and the bytes that each stands for, marks included."""

    id: int
    tokens: list[int]
    pieces: list[bytes]


Event: TypeAlias = Accepted | Piece | Finished


class Gauge(msgspec.Struct, array_like=True, frozen=True):
    """What the engine holds after a step; all but the last two zero when it is idle."""

    waiting: int = 0
    running: int = 0
    cells_used: int = 0
    """By running requests."""
    cells_cached: int = 0
    """By what has ended and may be shared by what comes."""
    cells_archived: int = 0
    """Copies of cells outside the cache, of what has ended."""


class Step(msgspec.Struct, tag=True, frozen=True):
    """Everything that happened in one step of the engine."""

    events: list[Event]
    gauge: Gauge


Report: TypeAlias = Loading | Ready | LoadFailed | Step | Tokens
