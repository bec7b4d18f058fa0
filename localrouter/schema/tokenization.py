"""Tokens of texts and conversations, in the forms of llama-server's and vLLM's routes: requests and responses."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from localrouter.schema.chat_messages import Message
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import JsonObject, Several, Unsupported, invalid
from localrouter.schema.model_request import ModelRequest
from localrouter.schema.text_completions import MAX_TOKEN_LIST, Token
from localrouter.schema.tools import MAX_TOOLS, Tool

_SUBJECTS = ("content", "prompt", "messages")
_FOR = {
    "content": ("add_special", "parse_special", "with_pieces"),
    "prompt": ("add_special_tokens", "return_token_strs"),
    "messages": (
        "add_special_tokens",
        "return_token_strs",
        "add_generation_prompt",
        "continue_final_message",
        "chat_template_kwargs",
        "tools",
    ),
}
"""Options that go with each subject; `content` is of llama-server's form, the others of vLLM's."""


class TokenizeRequest(ModelRequest):
    """The body of `POST /tokenize`. `None` is the same as omitting a field."""

    content: str | None = Field(None, description="the text, in llama-server's form; one of the three")
    add_special: bool | None = Field(
        None,
        description="with `content`, default false; true: with the token that begins a text, if the model wants it",
    )
    parse_special: bool | None = Field(
        None, description="with `content`, default true: control tokens are recognised; false: they are plain text"
    )
    with_pieces: bool | None = Field(
        None, description="with `content`, default false; true: each token with the text it stands for"
    )
    prompt: str | None = Field(None, description="the text, in vLLM's form, with control tokens recognised")
    messages: Several[Message] | None = Field(None, description="a conversation, in vLLM's form")
    add_special_tokens: bool | None = Field(
        None,
        description="with `prompt` or `messages`: with the token that begins a text; default true, false for messages",
    )
    return_token_strs: bool | None = Field(
        None, description="with `prompt` or `messages`, default false; true: the texts of the tokens too"
    )
    add_generation_prompt: bool | None = Field(
        None, description="with `messages`, default true: the prompt begins the assistant's turn"
    )
    continue_final_message: bool | None = Field(None, description="with `messages`: as in a chat request")
    chat_template_kwargs: JsonObject | None = Field(None, description="with `messages`: as in a chat request")
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = Field(
        None, description="with `messages`: as in a chat request"
    )

    chat_template: Annotated[object, Unsupported()] = None

    @model_validator(mode="after")
    def _one_subject_with_its_options(self) -> Self:
        given = [name for name, value in self.__dict__.items() if value is not None]
        subjects = [name for name in _SUBJECTS if name in given]
        if not subjects:
            raise PydanticCustomError("missing_field", "", {"name": "content"})
        if len(subjects) > 1:
            raise invalid(f"'{subjects[0]}' and '{subjects[1]}' are both what to tokenize; send one of them.")
        options = {name for names in _FOR.values() for name in names}
        for name in given:
            if name in options and name not in _FOR[subjects[0]]:
                raise invalid(f"'{name}' does not go with '{subjects[0]}'.")
        if self.add_generation_prompt and self.continue_final_message:
            raise invalid("'add_generation_prompt' and 'continue_final_message' exclude each other.")
        return self

    def conversation(self, model: str) -> ChatRequest:
        """Return the chat request to a model with these messages."""
        assert self.messages is not None, "called for messages only"
        return ChatRequest(
            model=model,
            messages=self.messages,
            continue_final_message=self.continue_final_message,
            chat_template_kwargs=self.chat_template_kwargs,
            tools=self.tools,
        )


class DetokenizeRequest(ModelRequest):
    """The body of `POST /detokenize`. `None` is the same as omitting a field."""

    tokens: Annotated[list[Token], Field(fail_fast=True, max_length=MAX_TOKEN_LIST)] = Field(
        description="the tokens by number"
    )


class TokenPiece(msgspec.Struct, frozen=True):
    """A token and its piece of text: a string, or a list of bytes where they are not UTF-8 by themselves."""

    id: int
    piece: str | list[int]


class TokenizeResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a text. `model` is the full name of the build whose tokens they are."""

    model: str
    count: int
    tokens: Sequence[int | TokenPiece]


class PromptTokensResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a prompt, in vLLM's form."""

    model: str
    count: int
    max_model_len: int
    """Longest prompt plus output of one request, in tokens."""
    tokens: list[int]
    token_strs: list[str] | None = None
    """Texts of the tokens, with U+FFFD for a part of a character; null unless requested."""


class TokenizerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a model's tokenizer, by vLLM's names. Tokens and template are null where the model has none."""

    model: str
    tokenizer_class: Literal["GGUF"] = "GGUF"
    vocab_size: int
    model_max_length: int
    """Longest prompt plus output of one request, in tokens."""
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    add_bos_token: bool
    """Whether a text begins with `bos_token`."""
    chat_template: str | None
    additional_special_tokens: list[str]


class InputTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The number of prompt tokens of a chat request."""

    object: Literal["chat.completion.input_tokens"] = "chat.completion.input_tokens"
    model: str
    input_tokens: int


class DetokenizeResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The text of tokens, control tokens included; U+FFFD stands for bytes that are none."""

    model: str
    count: int
    content: str
    prompt: str
    """The same text by vLLM's name."""
