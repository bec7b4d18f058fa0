"""The content of a message: a string, an array of parts, or for a tool result any JSON value."""

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from localrouter.schema.field_kinds import Ignored, Nested, Unsupported, kind_of_content, reject

NO_MEDIA = "Content of type '{value}' is not supported; the models here read text."
CACHED = Ignored("prefixes of prompts are cached anyway")
SIGNED = Ignored("only the provider that wrote it can read it")

TEXT_TYPES = ("text", "input_text", "output_text")
"""Types of text parts: OpenAI's, and those of its Responses API."""
REASONING_TYPES = ("thinking", "reasoning", "redacted_thinking")
MEDIA_TYPES = (
    *("image_url", "input_audio", "file", "video_url"),  # OpenAI's and vLLM's
    *("input_image", "input_file", "image", "audio", "video", "document", "audio_url"),  # of other APIs
)
MEDIA_KEYS = frozenset(("source", "data", "file_id", "file_data", *MEDIA_TYPES))
"""Fields of which a media part has one, unlike a JSON value that happens to have such a `type`."""


class TextPart(Nested):
    """One text part of a message's content."""

    type: Annotated[
        Literal["text", "input_text", "output_text"],
        reject((*MEDIA_TYPES, "refusal"), NO_MEDIA),
    ] = Field(description="`text`; `input_text` and `output_text` are the names of the Responses API")
    text: str = Field(description="parts are joined with nothing between them")
    cache_control: Annotated[object, CACHED] = None
    prompt_cache_breakpoint: Annotated[object, CACHED] = None
    annotations: Annotated[object, Ignored("they repeat the text")] = None
    image_url: Annotated[object, Unsupported()] = None
    input_audio: Annotated[object, Unsupported()] = None
    file: Annotated[object, Unsupported()] = None

    @property
    def is_plain(self) -> bool:
        """Whether the part has a type and a text, and nothing else."""
        return self.model_fields_set <= {"type", "text"}


class RefusalPart(Nested):
    """A part of an assistant message with a refusal."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """Text of the refusal."""
        return self.refusal


class ReasoningPart(Nested):
    """A part of an assistant message with reasoning, as Anthropic, Mistral and LangChain have it."""

    type: Literal["thinking", "reasoning", "redacted_thinking"]
    thinking: (
        Annotated[
            Annotated[str, Tag("<text>")] | Annotated[list[TextPart], Field(fail_fast=True), Tag("<parts>")],
            Discriminator(kind_of_content, custom_error_type="content_type", custom_error_message="neither"),
        ]
        | None
    ) = None
    reasoning: str | None = None
    text_: str | None = Field(None, alias="text")
    signature: Annotated[object, SIGNED] = None
    data: Annotated[object, SIGNED] = None

    @property
    def text(self) -> str:
        """Nothing: reasoning is not part of a message's text."""
        return ""

    @property
    def thought(self) -> str:
        """Text of the reasoning; "" where it is encrypted."""
        if isinstance(self.thinking, list):
            return "".join(part.text for part in self.thinking)
        return self.thinking or self.reasoning or self.text_ or ""


def _kind_of_part(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "refusal":
        return "<refusal>"
    return "<reasoning>" if kind in REASONING_TYPES else "<text>"


Part: TypeAlias = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[RefusalPart, Tag("<refusal>")]
    | Annotated[ReasoningPart, Tag("<reasoning>")],
    Discriminator(_kind_of_part),
]
Content: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Part], Field(fail_fast=True, max_length=65_536), Tag("<parts>")],
    Discriminator(kind_of_content, custom_error_type="content_type", custom_error_message="neither string nor array"),
]


class JsonText(str):
    """A tool result that is no text, as its JSON text."""

    __slots__ = ()


def result_content(value: object) -> object:
    """Return the content of a tool result in a form that `Content` accepts or rejects.

    Strings among parts are text parts. A value that is neither text nor parts is a JsonText: an object, a number, an
    array without any part. Media stay as they are, and are rejected.
    """
    if value is None or isinstance(value, str) or value == []:
        return value
    if isinstance(value, list):
        kinds = {_kind_of_item(item) for item in value}
        if "media" in kinds or ("part" in kinds and "other" not in kinds):
            return [{"type": "text", "text": item} if isinstance(item, str) else item for item in value]
    return JsonText(json_text(value))


def json_text(value: object) -> str:
    """Return a value that was parsed from JSON as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kind_of_item(item: Any) -> Literal["part", "media", "string", "other"]:
    if isinstance(item, str):
        return "string"
    kind = item.get("type") if isinstance(item, dict) else None
    if kind in MEDIA_TYPES and not MEDIA_KEYS.isdisjoint(item):
        return "media"
    return "part" if (kind in TEXT_TYPES and "text" in item) or kind == "refusal" else "other"
