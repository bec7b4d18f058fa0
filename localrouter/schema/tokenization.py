"""`POST /tokenize` and `POST /detokenize`, in the form of llama-server's: requests and responses."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from pydantic import Field

from localrouter.schema.field_kinds import MAX_TOKENS, Strict
from localrouter.schema.generation_fields import MODEL_NAME, ModelName
from localrouter.schema.text_completions import MAX_TOKEN_LIST, Token

Ttl = Annotated[int, Field(ge=0, le=MAX_TOKENS)]


class TokenizeRequest(Strict):
    """The body of `POST /tokenize`. `None` is the same as omitting a field."""

    model: ModelName | None = Field(None, description=MODEL_NAME)
    content: str = Field(description="the text")
    add_special: bool | None = Field(
        None, description="default false; true: with the token that begins a text, where the model wants one"
    )
    parse_special: bool | None = Field(
        None, description="default true: control tokens are recognised; false: they are read as plain text"
    )
    with_pieces: bool | None = Field(None, description="default false; true: each token with the text it stands for")
    ttl: Ttl | None = Field(None, description="as in a chat request")


class DetokenizeRequest(Strict):
    """The body of `POST /detokenize`. `None` is the same as omitting a field."""

    model: ModelName | None = Field(None, description=MODEL_NAME)
    tokens: Annotated[list[Token], Field(fail_fast=True, max_length=MAX_TOKEN_LIST)] = Field(
        description="the tokens by number"
    )
    ttl: Ttl | None = Field(None, description="as in a chat request")


class TokenPiece(msgspec.Struct, frozen=True):
    """A token and its piece of text: a string, or a list of bytes where they are not UTF-8 by themselves."""

    id: int
    piece: str | list[int]


class TokenizeResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a text. `model` is the full name of the build whose tokens they are."""

    model: str
    count: int
    tokens: Sequence[int | TokenPiece]


class DetokenizeResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The text of tokens, control tokens included; U+FFFD stands for bytes that are none."""

    model: str
    count: int
    content: str
