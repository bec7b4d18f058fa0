"""Pairs tool results with calls, also where an interrupted client left results out or sends them late."""

from collections import deque
from collections.abc import Sequence

from localrouter.chat.prompt.normalised_message import Call, NormalisedMessage
from localrouter.chat.prompt.prompt_change import PromptChange
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import Message
from localrouter.schema.content_parts import JsonText

NO_RESULT = "No result was recorded for this call."
"""Text of the result of a call that has none in the request."""


class _CallResults:
    """The results of the calls of one message. A call is identified by its place among the calls."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.found: dict[int, NormalisedMessage] = {}
        """Results, in the order of the request."""
        self.was_moved = False
        """Whether other messages stand between the calls and one of the results."""
        self._places = deque(range(len(calls)))
        self._places_of: dict[str, deque[int]] = {}
        for place, call in enumerate(calls):
            self._places_of.setdefault(call.name, deque()).append(place)

    def first_open(self, name: str) -> int | None:
        """Return the place of the first call without a result, of the function `name` if that is not empty."""
        places = self._places_of.get(name, deque()) if name else self._places
        while places and places[0] in self.found:
            places.popleft()
        return places[0] if places else None

    def messages(self, caller: int | None) -> list[NormalisedMessage]:
        """Return one result for each call of the message at the index `caller`.

        The results are in the order of the request, or of the calls where a result was added or moved: templates
        without ids show by the order alone which result belongs to which call.
        """
        if len(self.found) == len(self.calls) and not self.was_moved:
            return list(self.found.values())
        return [self.found.get(place) or _added(call, caller) for place, call in enumerate(self.calls)]


class PairedMessages:
    """The messages of a conversation, with each result after the message of its call."""

    def __init__(self) -> None:
        self._turns: list[tuple[NormalisedMessage, _CallResults | None]] = []
        self._waiting: dict[str, tuple[_CallResults, int]] = {}
        """Calls without a result by the client's id; of two calls with one id the later."""

    def add(self, message: NormalisedMessage, ids: Sequence[str | None]) -> None:
        """Add a message that is no result. `ids` has the id of each of its calls, empty where the client gave none."""
        results = _CallResults(message.calls) if message.calls else None
        self._turns.append((message, results))
        if results:
            self._waiting |= {name: (results, place) for place, name in enumerate(ids) if name}

    def add_result(self, message: Message, index: int) -> None:
        """Add a result. Raises InvalidRequest where no call waits for it: the model would believe it."""
        last = self._turns[-1][1] if self._turns else None
        results, place = self._waiting_call(message, last)
        if results is None or place is None:
            raise _orphan(message, index)
        call = results.calls[place]
        changes = _changes(message, index, call, is_moved=results is not last)
        results.was_moved |= results is not last
        results.found[place] = NormalisedMessage("tool", message.text, index, call=call, changes=changes)

    def _waiting_call(self, message: Message, last: _CallResults | None) -> tuple[_CallResults | None, int | None]:
        """Return the results that `message` belongs to and the place of its call; None where no call waits for it.

        A result without an id may only answer calls of the message right before the results, whose results are `last`.
        """
        if not message.tool_call_id:
            return last, last.first_open(message.called_name) if last else None
        results, place = self._waiting.pop(message.tool_call_id, (None, None))
        is_answered = results is not None and place in results.found  # by a result without an id
        return (None, None) if is_answered else (results, place)

    def messages(self) -> list[NormalisedMessage]:
        """Return all messages, with a result for each call."""
        return [
            each
            for message, results in self._turns
            for each in (message, *(results.messages(message.index) if results else ()))
        ]


def _added(call: Call, caller: int | None) -> NormalisedMessage:
    why = f"The call '{call.id}' has no result, so one was added that says so: templates show a result for each call."
    return NormalisedMessage("tool", NO_RESULT, call=call, changes=[PromptChange("added_result", caller, why)])


def _changes(message: Message, index: int, call: Call, *, is_moved: bool) -> list[PromptChange]:
    """Return the changes of a result that make it the result of `call`."""
    changes = []
    if message.role == "tool" and not message.tool_call_id:
        why = f"The result names no call, so it is that of the first call without a result before it, '{call.id}'."
        changes.append(PromptChange("matched_result", index, why))
    if is_moved:
        why = f"Other messages stand between the call '{call.id}' and this result, so it was moved up to the call."
        changes.append(PromptChange("moved_result", index, why))
    if isinstance(message.content, JsonText):
        why = "The result is no text and no array of content parts, so its JSON is shown."
        changes.append(PromptChange("result_as_json", index, why))
    return changes


def _orphan(message: Message, index: int) -> InvalidRequest:
    identifier, name = message.tool_call_id, message.called_name
    if identifier:
        problem = f"No call before this message waits for a result with the id '{identifier}'."
    else:
        of = f" of the function '{name}'" if name else ""
        problem = f"No call of the message before this one waits for a result{of}."
    field = "name" if message.role == "function" and not identifier else "tool_call_id"
    advice = f"A message with role '{message.role}' must answer a call of the assistant, each once."
    return InvalidRequest(f"{problem} {advice}", param=f"messages[{index}].{field}", code="invalid_value")
