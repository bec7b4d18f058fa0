"""The body of `POST /v1/responses`."""

from typing import Annotated

from pydantic import Field

from localrouter.schema.field_kinds import Number, Tokens
from localrouter.schema.model_request import ModelRequest


class ResponsesRequest(ModelRequest):
    """The body of `POST /v1/responses`. `None` is the same as leaving a field out."""

    input: str = Field(description="a string")
    instructions: str | None = Field(None, description="the system message")
    max_output_tokens: Tokens | None = Field(None, description="at least 1; default, as -1: to the end of the context")
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(None, description="0 to 2, default 1; 0 is greedy")
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(None, description="0 to 1, default 1")
    stream: bool | None = Field(None, description="default false")
