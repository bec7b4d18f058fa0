"""A request to continue a prompt: the prompt, the sampling parameters, and the rules for the output."""

import msgspec


class Segment(msgspec.Struct, array_like=True, frozen=True):
    """Part of a prompt's text. With `control` special tokens in it are recognised; otherwise it is plain text."""

    text: str
    control: bool


class Sampling(msgspec.Struct, array_like=True, frozen=True):
    """Parameters of sampling, and the stop strings of an output.

    A `temperature` of 0 is greedy; without a `seed` every output has fresh randomness. The defaults leave the model's
    distribution as it is. `engine/sampling/sampler.py` says in which order the fields act.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    """Number of the likeliest tokens that are kept; 0 keeps all."""
    min_p: float = 0.0
    """Least probability of a token that is kept, as a share of the likeliest token's; 0 keeps all."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    """Penalty above 0 for tokens that occurred; 1 is none."""
    logit_bias: dict[int, float] = {}
    """Numbers added to the logits of tokens, all of which the vocabulary has."""
    logprobs: int | None = None
    """Number of the likeliest tokens reported with log probabilities beside the sampled one; None: no logprobs."""
    stop: tuple[str, ...] = ()
    """Stop strings: the output ends before the first of them; none is empty."""
    stop_tokens: tuple[int, ...] = ()
    """Tokens that end the output, beside the model's own end tokens; the vocabulary has all of them."""
    min_tokens: int = 0
    """Output tokens before which no end token and no stop token is sampled, and no stop string ends the output."""
    ignore_eos: bool = False
    """Whether end tokens are not sampled at all."""


class Thinking(msgspec.Struct, array_like=True, frozen=True):
    """Delimiters of reasoning, and its budget.

    Where the vocabulary has a delimiter as a token, only that token is one; elsewhere its characters are.
    """

    begin: str
    end: str
    is_open: bool = False
    """Whether the prompt ends inside reasoning."""
    budget: int | None = None
    """Reasoning tokens, delimiters not counted, after which the engine writes `end` in place of the model.

    An unfinished line is ended first. Inside a character, and where the grammar does not allow `end`, it waits.
    None: reasoning is not limited.
    """


class ToolCalls(msgspec.Struct, array_like=True, frozen=True):
    """Delimiters of a tool call, recognised like those of `Thinking`."""

    begin: str
    end: str
    quotes: tuple[str, str] | None = None
    """Quotes around text inside a call in which the characters of `end` are text, as those of JSON strings."""
    escape: str = ""
    """Character that makes the next one text, between quotes."""


class Grammar(msgspec.Struct, array_like=True, frozen=True):
    """Grammar that an output follows from its first token to its last, in llguidance's dialect of Lark."""

    lark: str


class GenerationRequest(msgspec.Struct, frozen=True):
    """Request to continue a prompt, up to the context's end where `max_tokens` is None.

    With `max_tokens` 0 the prompt is computed, and the output ends with `length` before its first token.
    """

    prompt: list[Segment]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    grammar: Grammar | None = None
    thinking: Thinking | None = None
    """Delimiters of reasoning. None: there is none, and text that looks like it is text."""
    delimiters: tuple[str, ...] = ()
    """Control tokens whose text is part of the output, beside those of `thinking` and `calls`; others are silent."""
    calls: ToolCalls | None = None
    """Delimiters of tool calls. None: there are none, and text that looks like one is text."""
    tokens: list[int] | None = None
    """Tokens of the prompt, used as they are in place of `prompt`; the vocabulary has all of them."""
    prompt_logprobs: int | None = None
    """Number of the likeliest tokens reported with log probabilities in the place of each prompt token.

    None: no log probabilities of the prompt.
    """
    lists_silent: bool = False
    """Whether tokens without text, the end token among them, are reported with log probabilities as well.

    Each comes in a `Piece` without text. Only where `sampling.logprobs` is set.
    """
    structured: bool = False
    """Whether the output is structured: once its text has begun, white space aside, nothing is a delimiter."""
    reports_progress: bool = False
    """Whether every `Piece` has the progress, and the `Finished` the durations."""
