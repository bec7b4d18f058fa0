"""Fields of all requests that generate text: model, sampling parameters and streaming."""

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from localrouter.schema.field_kinds import (
    MAX_TOKENS,
    Ignored,
    Integer,
    Nested,
    Number,
    invalid,
    is_same,
    kind_of_content,
)
from localrouter.schema.model_request import ModelRequest
from localrouter.schema.tools import ResponseFormat

MAX_BIASED = 300
"""Tokens that one `logit_bias` may name."""

MAX_LOGPROBS = 20
"""Likeliest tokens that a request may ask for in each place: OpenAI's limit for chats, vLLM's for both routes."""

UNSTORED = Ignored("nothing is stored")

_TOKEN = re.compile("0|[1-9][0-9]{0,9}")


class StreamOptions(Nested):
    """Options of a streamed response."""

    include_usage: Annotated[bool, BeforeValidator(lambda value: False if value is None else value)] = False
    continuous_usage_stats: Annotated[bool, BeforeValidator(lambda value: False if value is None else value)] = False
    include_obfuscation: Annotated[bool | None, Ignored("there is no intermediary to hide lengths from")] = None


def _bias(value: object) -> object:
    """Return the bias with token ids for keys, which are strings in JSON. Stops at the first error."""
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
"""Values added to the logits of tokens, by token id."""


def _all_tokens(value: object) -> object:
    """Return a `top_k`: vLLM writes all tokens as -1."""
    return 0 if is_same(value, -1) else value


Penalty = Annotated[Number, Field(ge=-2, le=2)]
MAX_STOPS = 64
"""Stop strings of one request; editors send a dozen."""
StopString = Annotated[str, StringConstraints(max_length=1024)]
Stop: TypeAlias = Annotated[
    Annotated[StopString, Tag("<text>")]
    | Annotated[list[StopString], Field(fail_fast=True, max_length=MAX_STOPS), Tag("<parts>")],
    Discriminator(kind_of_content, custom_error_type="stop_type", custom_error_message="neither string nor array"),
]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
"""Number of a token in the model's vocabulary."""


PromptLogprobs: TypeAlias = Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None
"""Number of the likeliest tokens reported in the place of each token of a prompt; None: no logprobs of the prompt."""
PROMPT_LOGPROBS = (
    f"vLLM's, 0 to {MAX_LOGPROBS}: logprobs of the prompt's tokens, and of so many others in the place of each; "
    "not with `stream`; see below"
)


def _nested_schema(value: object) -> object:
    """Return a `response_format` in OpenAI's form; llama-server has the schema beside the type, as `schema`."""
    if not isinstance(value, dict) or value.get("json_schema") is not None or value.get("schema") is None:
        return value
    if value.get("type") not in ("json_object", "json_schema"):
        return value
    rest = {name: each for name, each in value.items() if name not in ("type", "schema", "json_schema")}
    return {"type": "json_schema", "json_schema": {"schema": value["schema"], **rest}}


class GenerationFields(ModelRequest):
    """Fields of every request that generates text."""

    stream: bool | None = Field(None, description="default false")
    stream_options: StreamOptions | None = Field(
        None, description="`include_usage`, `continuous_usage_stats`; no effect without `stream`"
    )
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(None, description="0 to 2, default 1; 0 is greedy")
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(None, description="0 to 1, default 1")
    seed: Annotated[Integer, Field(ge=-(2**63), lt=2**63)] | None = Field(
        None, description="the same request with the same `system_fingerprint` samples the same tokens"
    )
    presence_penalty: Penalty | None = Field(None, description="-2 to 2, default 0; for tokens that the output has")
    frequency_penalty: Penalty | None = Field(None, description="-2 to 2, default 0; for each time the output has them")
    logit_bias: Bias | None = Field(
        None, description=f"at most {MAX_BIASED} tokens by number, each -100 to 100; see below"
    )
    stop: Stop | None = Field(None, description=f"a string, or up to {MAX_STOPS}; see below")
    top_k: Annotated[Integer, Field(ge=0, le=MAX_TOKENS), BeforeValidator(_all_tokens)] | None = Field(
        None, description="not OpenAI's: sample from so many of the likeliest tokens; default 0, as -1: from all"
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="not OpenAI's: 0 to 1, default 0; the least probability, as a share of the likeliest's"
    )
    repeat_penalty: Annotated[Number, Field(ge=0.01, le=2)] | None = Field(
        None, description="not OpenAI's: 0.01 to 2, default 1; for tokens of the prompt and of the output"
    )
    regex: Annotated[str, StringConstraints(min_length=1, max_length=65_536)] | None = Field(
        None, description="not OpenAI's: a regular expression that the whole output matches"
    )
    grammar: Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)] | None = Field(
        None, description="not OpenAI's: a grammar that the output obeys, in llguidance's dialect of Lark or in GBNF"
    )
    response_format: Annotated[ResponseFormat | None, BeforeValidator(_nested_schema)] = Field(
        None, description="`text`, `json_object` or `json_schema`, enforced while the output is sampled"
    )
    min_tokens: Annotated[Integer, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: tokens before which the output does not end by itself; default 0"
    )
    ignore_eos: bool | None = Field(
        None, description="not OpenAI's: default false; true: the model cannot end the output"
    )
    stop_token_ids: Annotated[list[TokenId], Field(fail_fast=True, max_length=MAX_STOPS)] | None = Field(
        None, description=f"not OpenAI's: up to {MAX_STOPS} tokens by number that end the output"
    )
    timings_per_token: bool | None = Field(
        None, description="not OpenAI's: default false; true: `timings` in the response, and in every chunk"
    )
    user: Annotated[str | None, UNSTORED] = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, each once; an empty one stops nothing and is left out."""
        given = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(dict.fromkeys(filter(None, given)))

    def without_effect(self) -> Mapping[str, str]:
        """Return `stream_options` without `stream`, and a `stop` that has only empty strings, each with the reason."""
        found = dict(super().without_effect())
        if self.stream_options is not None and not self.stream:
            found["stream_options"] = "the response is not streamed"
        if self.stop is not None and self.stop != [] and not self.stops:
            found["stop"] = "an empty string stops nothing"
        return found

    @field_validator("grammar")
    @classmethod
    def _one_structure(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("regex") is not None:
            raise invalid("'regex' and 'grammar' both set the structure of the output; send one of them.")
        return value

    @field_validator("response_format")
    @classmethod
    def _format_or_grammar(cls, value: ResponseFormat | None, info: ValidationInfo) -> ResponseFormat | None:
        other = next((name for name in ("regex", "grammar") if info.data.get(name)), None)
        if value is not None and value.type != "text" and other:
            raise invalid(f"'{other}' and 'response_format' both set the structure of the output; send one of them.")
        return value


class PromptLogprobFields(GenerationFields):
    """Fields of the requests whose response can have the log probabilities of a prompt."""

    prompt_logprobs: PromptLogprobs = Field(None, description=PROMPT_LOGPROBS)

    @field_validator("prompt_logprobs")
    @classmethod
    def _not_streamed(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("stream"):  # no chunk has a place for them
            raise PydanticCustomError("unsupported_parameter", "{field} is not supported with 'stream'.")
        return value
