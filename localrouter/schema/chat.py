"""The body of `POST /v1/chat/completions`."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
)

from localrouter.schema.fields import (
    MAX_TOKENS,
    Ignored,
    JsonObject,
    Number,
    Several,
    Strict,
    Tokens,
    Unsupported,
    invalid,
    kind_of_content,
)
from localrouter.schema.messages import Message
from localrouter.schema.tools import (
    MAX_TOOLS,
    FunctionChoice,
    FunctionDefinition,
    ResponseFormat,
    Tool,
    ToolChoice,
)

MAX_CHOICES = 128
"""OpenAI's own bound of `n`; a model answers at most as many at once as it has sequences."""

MAX_BIASED = 300
"""Tokens that one `logit_bias` may name."""

UNSTORED = Ignored("nothing is stored")
CACHED = Ignored("prompts that begin alike are shared anyway, as long as there is room")

_TOKEN = re.compile("0|[1-9][0-9]{0,9}")


class StreamOptions(Strict):
    """Options of a streamed answer."""

    include_usage: Annotated[bool, BeforeValidator(lambda value: False if value is None else value)] = False
    include_obfuscation: Annotated[bool | None, Ignored("nobody between client and server to hide lengths from")] = None


def _texts(metadata: JsonObject | None) -> JsonObject | None:
    if metadata and not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("The values of 'metadata' must be strings.")
    return metadata


def _bias(value: object) -> object:
    """Return the bias with numbers for keys, which JSON has as strings. Stops at the first mistake."""
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_BIASED:
        raise invalid(f"Invalid value for {{field}}: expected at most {MAX_BIASED} tokens.")
    for token, bias in value.items():
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise invalid("The keys of {field} must be the numbers of tokens, as strings.")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            raise invalid("The values of {field} must be numbers from -100 to 100.")
    return {int(token): float(bias) for token, bias in value.items()}


Bias = Annotated[dict[int, float], BeforeValidator(_bias)]
"""From the number of a token to what is added to its logit."""
Penalty = Annotated[Number, Field(ge=-2, le=2)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Stop: TypeAlias = Annotated[
    Annotated[StopString, Tag("<text>")]
    | Annotated[list[StopString], Field(fail_fast=True, max_length=4), Tag("<parts>")],
    Discriminator(kind_of_content, custom_error_type="stop_type", custom_error_message="neither string nor array"),
]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatRequest(Strict):
    """The body of `POST /v1/chat/completions`. `None` is the same as leaving a field out."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(description="alias or full name")
    messages: Several[Message] = Field(description="at least one; see below")
    stream: bool | None = Field(None, description="default false")
    stream_options: StreamOptions | None = Field(None, description="only with `stream`; `include_usage`")
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description="answers to the same prompt, which is read once; at most as many as the model has sequences"
    )
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(None, description="0 to 2, default 1; 0 is greedy")
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(None, description="0 to 1, default 1")
    max_tokens: Tokens | None = Field(None, description="the older name of `max_completion_tokens`")
    max_completion_tokens: Tokens | None = Field(None, description="at least 1; default: to the end of the context")
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = Field(
        None, description="the same request with the same `system_fingerprint` draws the same tokens"
    )
    presence_penalty: Penalty | None = Field(None, description="-2 to 2, default 0; for tokens that the answer has")
    frequency_penalty: Penalty | None = Field(None, description="-2 to 2, default 0; for each time the answer has them")
    logit_bias: Bias | None = Field(
        None, description=f"at most {MAX_BIASED} tokens by number, each -100 to 100; see below"
    )
    logprobs: bool | None = Field(None, description="default false; see below")
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="0 to 20, default 0; only with `logprobs`"
    )
    stop: Stop | None = Field(None, description="a string, or up to 4; see below")

    response_format: ResponseFormat | None = Field(
        None, description="`text`, `json_object` or `json_schema`, enforced while the answer is drawn"
    )
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = Field(
        None, description="functions that the model may call; their arguments always obey `parameters`"
    )
    tool_choice: ToolChoice | None = Field(
        None, description="`none`, `auto`, `required`, a named function, or `allowed_tools`"
    )
    parallel_tool_calls: bool | None = Field(None, description="default true; false: at most one call")
    functions: Annotated[list[FunctionDefinition], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = Field(
        None, description="the older form of `tools`; answered in the older form too"
    )
    function_call: FunctionChoice | None = Field(None, description="the older form of `tool_choice`")
    reasoning_effort: Effort | None = Field(
        None, description="`none` turns thoughts off where the model can; the others bound their length; see below"
    )

    top_k: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: draw from the likeliest so many; default 0, from all"
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="not OpenAI's: 0 to 1, default 0; the least probability, as a share of the likeliest's"
    )
    repeat_penalty: Annotated[Number, Field(gt=0, le=2)] | None = Field(
        None, description="not OpenAI's: above 0, to 2, default 1; for tokens of the prompt and of the answer"
    )
    regex: Annotated[str, StringConstraints(min_length=1, max_length=65_536)] | None = Field(
        None, description="not OpenAI's: a regular expression that the whole answer matches"
    )
    grammar: Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)] | None = Field(
        None, description="not OpenAI's: a grammar that the answer obeys, in llguidance's dialect of Lark"
    )
    reasoning_budget: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: tokens after which a thought is ended"
    )
    chat_template_kwargs: JsonObject | None = Field(
        None, description="not OpenAI's: variables for the model's chat template, `enable_thinking` for instance"
    )
    continue_final_message: bool | None = Field(
        None, description="not OpenAI's: default false; true: the answer goes on with the last message, the assistant's"
    )
    ttl: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: seconds without a request after which the model may leave memory"
    )

    user: Annotated[str | None, UNSTORED] = None
    safety_identifier: Annotated[str | None, UNSTORED] = None
    metadata: Annotated[JsonObject | None, AfterValidator(_texts), UNSTORED] = None
    store: Annotated[bool | None, UNSTORED] = None
    prompt_cache_key: Annotated[str | None, CACHED] = None
    prompt_cache_options: Annotated[dict[str, object] | None, CACHED] = None
    prompt_cache_retention: Annotated[str | None, CACHED] = None
    prediction: Annotated[JsonObject | None, Ignored("it changes how fast an answer comes, never what it says")] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex", "scale", "priority", "fast"] | None, Ignored("all are served alike")
    ] = None

    audio: Annotated[object, Unsupported()] = None
    modalities: Annotated[object, Unsupported((["text"],))] = None
    moderation: Annotated[object, Unsupported()] = None
    verbosity: Annotated[object, Unsupported(("medium",))] = None
    web_search_options: Annotated[object, Unsupported()] = None

    @field_validator("stream_options")
    @classmethod
    def _options_need_a_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise invalid("The 'stream_options' parameter is only allowed with 'stream'.")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _top_needs_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise invalid("The 'top_logprobs' parameter is only allowed with 'logprobs'.")
        return value

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, value: int | None, info: ValidationInfo) -> int | None:
        older = info.data.get("max_tokens")
        if value is not None and older is not None and value != older:
            raise invalid("'max_tokens' and 'max_completion_tokens' say different things; send one of them.")
        return value

    @field_validator("regex", "grammar")
    @classmethod
    def _one_form(cls, value: str | None, info: ValidationInfo) -> str | None:
        form = info.data.get("response_format")
        other = "regex" if info.field_name == "grammar" and info.data.get("regex") else None
        if form is not None and form.type != "text":
            other = "response_format"
        if value is not None and other:
            raise invalid(f"'{other}' and '{info.field_name}' both say what form the answer has; send one of them.")
        return value
