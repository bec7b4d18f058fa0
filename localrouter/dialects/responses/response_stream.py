"""From the chunks of a chat completion to the events of the Responses API."""

from collections.abc import Sequence
from uuid import uuid4

from localrouter.chat.response.chat_completion import Completion
from localrouter.schema.chat_response import ChatCompletionChunk
from localrouter.schema.responses.request import ResponsesRequest
from localrouter.schema.responses.response import (
    OutputMessage,
    OutputText,
    ResponseEvent,
    ResponseObject,
    TextDelta,
)


class ResponseStream:
    """The events of one response, in their order."""

    def __init__(self, request: ResponsesRequest, completion: Completion) -> None:
        self._model = completion.model
        self._created = completion.created
        self._id = f"resp_{uuid4().hex}"
        self._item = f"msg_{uuid4().hex}"
        self._text = ""
        self._number = 0
        self._ended = False

    def feed(self, chunks: Sequence[ChatCompletionChunk]) -> list[object]:
        """Return the events for chunks that arrived together."""
        events: list[object] = [] if self._number else [self._event("response.created")]
        for chunk in chunks:
            for choice in chunk.choices:
                if choice.delta.content:
                    self._text += choice.delta.content
                    events.append(
                        TextDelta(
                            sequence_number=self._next(), item_id=self._item, output_index=0, delta=choice.delta.content
                        )
                    )
            if not chunk.choices:
                self._ended = True
                events.append(self._event("response.completed"))
        return events

    def failure(self, message: str, code: str | None, status: int) -> list[object]:
        """Return the events that end a stream which has failed."""
        return [self._event("response.failed")]

    def response(self) -> ResponseObject:
        """Return the response so far."""
        text = OutputText(text=self._text)
        item = OutputMessage(id=self._item, status="completed" if self._ended else "in_progress", content=[text])
        return ResponseObject(
            id=self._id,
            created_at=self._created,
            status="completed" if self._ended else "in_progress",
            model=self._model,
            output=[item] if self._text else [],
        )

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    def _event(self, kind: str) -> ResponseEvent:
        return ResponseEvent(type=kind, sequence_number=self._next(), response=self.response())
