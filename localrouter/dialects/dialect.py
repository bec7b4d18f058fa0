"""What a dialect is: a request that becomes a chat request, and chunks that become the events of a response.

The core knows chat requests only, so every dialect has its prompts, its grammars and its cache.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import msgspec

from localrouter.chat.response.chat_completion import Completion
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.chat_response import ChatCompletionChunk
from localrouter.schema.explain import ExplainedStep
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.ignored_fields import IgnoredField
from localrouter.schema.model_request import ModelRequest
from localrouter.schema.validation import validated

Body = TypeVar("Body", bound=ModelRequest)


@dataclass(frozen=True)
class Translation:
    """A request of a dialect as a chat request."""

    fields: JsonObject
    """Body of the chat request. Streamed or not, its chunks have the usage so far."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """For places of the chat request, such as `messages[3]`, those in the dialect's request that they come from."""
    ignored: Sequence[IgnoredField] = ()
    """Parts of the dialect's request that are left out, beside the fields that its model declares as ignored."""
    steps: Sequence[ExplainedStep] = ()
    """Changes that `explain` shows, in front of those of the chat template."""

    def chat_request(self) -> ChatRequest:
        """Return the chat request. Raises InvalidRequest, which names places of the chat request; see `as_sent`.

        The request itself knows the places of the dialect's request.
        """
        request = validated({**self.fields, **RUNNING_USAGE}, ChatRequest)
        request.note_foreign_fields({}, self.sources)
        return request


RUNNING_USAGE: JsonObject = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}
"""What a chat request needs for chunks that have the usage so far."""


class EventTranslator(Protocol):
    """Turns the chunks of one chat completion into the events of a stream, or into one response."""

    def feed(self, chunks: Sequence[ChatCompletionChunk]) -> Sequence[object]:
        """Return the events for chunks that arrived together; the chunk without choices is the last one."""

    def failure(self, message: str, code: str | None, status: int) -> Sequence[object]:
        """Return the events that end a stream which fails after it has begun. `status` is the HTTP status it lacks."""

    def response(self) -> msgspec.Struct:
        """Return the whole response, once all chunks were fed. Raises EngineFailed where the end is missing."""


@dataclass(frozen=True)
class Dialect(Generic[Body]):
    """One API beside chat completions."""

    request: type[Body]
    translate: Callable[[Body], Translation]
    """Raises InvalidRequest, with places of the dialect's request, for what has no place in a chat request."""
    translator: Callable[[Body, Completion], EventTranslator]
