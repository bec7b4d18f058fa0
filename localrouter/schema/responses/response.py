"""The response of `POST /v1/responses`, and the events of its stream."""

from typing import Any, Literal

import msgspec


class OutputText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A text of an output message."""

    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """An output message."""

    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[OutputMessage]


class ResponseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a stream, such as `response.completed`, that has the response so far."""

    type: str
    sequence_number: int
    response: ResponseObject


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of text."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int = 0
    delta: str
    logprobs: list[Any] = []
