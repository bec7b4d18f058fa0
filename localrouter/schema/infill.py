"""`POST /infill`, in the form of llama-server's: request and response."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from pydantic import Field, StringConstraints

from localrouter.schema.chat_request import CACHED
from localrouter.schema.field_kinds import MAX_TOKENS, Ignored, Nested, Unsupported
from localrouter.schema.generation_fields import GenerationFields

MAX_FILES = 1024
"""Files that one request may show to the model."""


class InfillFile(Nested):
    """A file that the model sees before the text to fill in."""

    text: str
    filename: Annotated[str, StringConstraints(max_length=4096)] | None = None


class InfillRequest(GenerationFields):
    """The body of `POST /infill`. `None` is the same as leaving a field out."""

    input_prefix: str = Field(description="text before the output")
    input_suffix: str = Field(description="text after the output")
    input_extra: Annotated[list[InfillFile], Field(fail_fast=True, max_length=MAX_FILES)] | None = Field(
        None, description="other files that the model sees first: objects with `text` and `filename`"
    )
    prompt: str | None = Field(None, description="text after `input_prefix`, already written where the output begins")
    n_predict: Annotated[int, Field(ge=-1, le=MAX_TOKENS)] | None = Field(
        None, description="tokens to generate; default -1: to the end of the context; 0 computes the prompt only"
    )

    timings_per_token: Annotated[bool | None, Ignored("a response of this route has no timings")] = None
    cache_prompt: Annotated[bool | None, CACHED] = None
    id_slot: Annotated[int | None, Ignored("slots are assigned by the server")] = None
    n_indent: Annotated[object, Unsupported((0,))] = None
    response_fields: Annotated[list[str] | None, Ignored("all fields are returned")] = None
    samplers: Annotated[
        list[str] | str | None, Ignored("the order of samplers is fixed, without llama-server's `infill`")
    ] = None
    t_max_predict_ms: Annotated[int | None, Ignored("the time of an output is not limited")] = None
    t_max_prompt_ms: Annotated[int | None, Ignored("the time of a prompt is not limited")] = None

    def without_effect(self) -> Mapping[str, str]:
        """Return the fields without effect; `stream_options` never has one, as a response always has its counts."""
        return {**super().without_effect(), "stream_options": "a response of this route always has its counts"}


class InfillResponse(msgspec.Struct, kw_only=True):
    """The body of a response, or one event of a stream, whose last one has `stop` true and all counts."""

    index: int = 0
    content: str
    stop: bool
    model: str
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    """Tokens of the prompt, cached ones included."""
    tokens_cached: int = 0
    """Tokens of the prompt that were cached."""
    truncated: Literal[False] = False
    stop_type: Literal["none", "stop", "limit"] = "none"
    """`limit`: the output reached `n_predict` or the end of the context; `stop`: an end token or a stop string."""
