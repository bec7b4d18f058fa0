"""Normalises any conversation of OpenAI's API for the chat template of a model, and lists the changes.

Messages that the template accepts stay as they are, so that prompts look like those the model was trained on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from localrouter.chat.families.family import Family
from localrouter.chat.families.prompted_tools import FALLBACK, call_text, instructions, result_text
from localrouter.chat.prompt.normalised_message import Call, NormalisedMessage
from localrouter.chat.prompt.prompt_change import PromptChange
from localrouter.chat.prompt.template import ChatTemplate
from localrouter.chat.prompt.template_capabilities import TemplateCapabilities, capabilities_of
from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject

GAP = "\n\n"
"""Separator between texts that are joined."""

SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Conversation:
    """Messages and tools in the form that a chat template accepts, and the changes that were necessary."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None
    steps: list[PromptChange]


def conversation_of(
    messages: Sequence[NormalisedMessage],
    tools: Sequence[JsonObject],
    template: ChatTemplate,
    family: Family,
    *,
    continue_final: bool = False,
) -> Conversation:
    """Return the messages and tools of a request as `template` accepts them. `family` has the delimiters of reasoning.

    Raises InvalidRequest when the output should continue a last message that is not the assistant's or has calls.
    """
    if continue_final and (messages[-1].role != "assistant" or messages[-1].calls):
        raise InvalidRequest(
            "'continue_final_message' needs a last message with role 'assistant' that calls nothing.",
            param="continue_final_message",
            code="invalid_value",
        )
    changed = _Normaliser([msgspec.structs.replace(message) for message in messages], capabilities_of(template))
    changed.drop_empty(continue_final=continue_final)
    changed.rename_developers()
    changed.write_names()
    if template.mentions(family.reasoning.end):
        changed.split_reasoning(family)
    shows_tools = family != FALLBACK and "tools" in template.variables
    if not shows_tools:
        changed.write_tools(tools)
    changed.merge_systems()
    changed.add_user()
    changed.move_system_to_user()
    changed.join_repeated()
    rendered = [changed.rendered(message) for message in changed.messages]
    return Conversation(rendered, changed.definitions(tools) if tools and shows_tools else None, changed.steps)


class _Normaliser:
    """Changes the messages of one conversation in place, and keeps a list of the changes."""

    def __init__(self, messages: list[NormalisedMessage], capabilities: TemplateCapabilities):
        self.messages = messages
        self.capabilities = capabilities
        self.steps: list[PromptChange] = [change for message in messages for change in message.changes]

    def drop_empty(self, *, continue_final: bool) -> None:
        """Drop assistant messages without text and calls, where the template rejects them."""
        if self.capabilities.empty_answers:
            return
        kept: list[NormalisedMessage] = []
        for place, message in enumerate(self.messages):
            is_continued = continue_final and place == len(self.messages) - 1
            if message.role != "assistant" or message.text or message.calls or is_continued:
                kept.append(message)
            else:
                self._did("dropped_empty", message, "The template refuses a turn without text and calls.")
        self.messages = kept or [NormalisedMessage("user", "")]

    def rename_developers(self) -> None:
        """Replace `developer`, OpenAI's newer name of `system`, which Qwen's templates drop or write as it is."""
        for place, message in enumerate(self.messages):
            if message.role == "developer" and not (place == 0 and self.capabilities.developer):
                message.role = "system"
                self._did("developer_as_system", message, "The template does not know the role 'developer' here.")

    def write_names(self) -> None:
        """Write the names of participants into the texts, where the template does not show names."""
        for message in self.messages:
            if message.speaker and not self.capabilities.names:
                message.text = f"{message.speaker}: {message.text}"
                message.speaker = ""
                self._did(
                    "name_in_text", message, "The template does not show names, so this one stands before the text."
                )

    def split_reasoning(self, family: Family) -> None:
        """Separate reasoning from text: templates split a message at the delimiters, which escaping hides from them."""
        begin, end = family.reasoning.begin, family.reasoning.end
        for message in self.messages:
            text = message.text.lstrip()
            if message.role != "assistant" or message.reasoning or not text.startswith(begin) or end not in text:
                continue
            reasoning, message.text = text.removeprefix(begin).split(end, 1)
            message.reasoning = reasoning.strip().removeprefix(family.reasoning_title).strip()
            message.text = message.text.lstrip("\n")
            self._did("thought_split", message, "The text begins with reasoning, which the template wants by itself.")

    def write_tools(self, tools: Sequence[JsonObject]) -> None:
        """Write tools into the system message, and calls and results into texts, for a template that shows none."""
        for message in self.messages:
            if message.calls:
                blocks = [call_text(call.name, self._arguments(call, message)) for call in message.calls]
                message.text, message.calls = "\n".join([*([message.text] if message.text else []), *blocks]), []
                self._did("calls_in_text", message, "The template does not show calls, so they are written as text.")
        self.messages = list(self._results_as_text())
        if tools:
            self.messages.insert(0, NormalisedMessage("system", instructions([tool["function"] for tool in tools])))
            if len(self.messages) > 1 and self.messages[1].role in SYSTEM:
                system = self.messages.pop(1)
                self.messages[0] = NormalisedMessage(
                    system.role, _with_gap(system.text, self.messages[0].text), system.index
                )
            self._did(
                "tools_in_system", self.messages[0], "The template does not show tools, so the system message does."
            )

    def _results_as_text(self) -> Iterable[NormalisedMessage]:
        """Yield the messages with all results of one assistant message in one user message, as templates have them."""
        for is_result, run in groupby(self.messages, lambda message: message.role == "tool"):
            messages = list(run)
            if is_result:
                yield NormalisedMessage(
                    "user", "\n".join(result_text(message.text) for message in messages), messages[0].index
                )
                for message in messages:
                    self._did("result_in_text", message, "The template does not show results, so the user says them.")
            else:
                yield from messages

    def definitions(self, tools: Sequence[JsonObject]) -> list[JsonObject]:
        """Return the tools, with empty parameters added where the template fails without."""
        if self.capabilities.bare_functions:
            return list(tools)
        completed = [tool | {"function": tool["function"] | {"parameters": _parameters(tool)}} for tool in tools]
        if completed != list(tools):
            why = "The template fails on a function without parameters, so an empty list of them was added."
            self.steps.append(PromptChange("added_parameters", None, why))
        return completed

    def merge_systems(self) -> None:
        """Join all system messages into the first, where the template accepts only one."""
        if self.capabilities.later_system:
            return
        systems = [message for message in self.messages if message.role in SYSTEM]
        if not systems or (len(systems) == 1 and systems[0] is self.messages[0]):
            return
        first = systems[0]
        moved = systems[1:] if first is self.messages[0] else systems
        self.messages = [first, *(message for message in self.messages if message.role not in SYSTEM)]
        first.text = _with_gap(*(message.text for message in systems))
        for message in moved:
            self._did("merged_system", message, "The template takes one system message, in the first place.")

    def add_user(self) -> None:
        """Add an empty user message where the template requires one: it adds no words to the conversation."""
        systems = sum(1 for message in self.messages if message.role in SYSTEM)
        spoken = [message for message in self.messages if message.role not in SYSTEM]
        lacks_user = not any(message.role == "user" for message in spoken)
        if lacks_user and not self.capabilities.without_user:
            why = "The template refuses a conversation without a turn of the user, so an empty one was added."
        elif spoken and spoken[0].role == "assistant" and not self.capabilities.assistant_first:
            why = (
                "The template refuses a conversation that the assistant begins, so an empty turn of the user was added."
            )
        else:
            return
        place = systems if lacks_user and not spoken else self.messages.index(spoken[0])
        self.messages.insert(place, NormalisedMessage("user", ""))
        self._did("added_user", self.messages[place], why)

    def move_system_to_user(self) -> None:
        """Write the system message into the first user message, where the template accepts no system message."""
        if self.capabilities.system or self.messages[0].role not in SYSTEM:
            return
        system = self.messages.pop(0)
        user = next((message for message in self.messages if message.role == "user"), None)
        if user is None:
            system.role = "user"
            self.messages.insert(0, system)
        else:
            user.text = _with_gap(system.text, user.text)
        self._did("system_in_user", system, "The template takes no system message, so the user's first turn says it.")

    def join_repeated(self) -> None:
        """Join neighbours of the same role, where the template rejects them; tool results stay apart."""
        if self.capabilities.repeated_role:
            return
        joined: list[NormalisedMessage] = []
        for role, run in groupby(self.messages, lambda message: message.role):
            first, *others = run
            if role != "tool" and others:
                messages = [first, *others]
                first.text = _with_gap(*(message.text for message in messages))
                first.reasoning = _with_gap(*(message.reasoning for message in messages))
                first.calls = [call for message in messages for call in message.calls]
                for message in others:
                    self._did("joined_turns", message, f"The template refuses two turns of the {role} in a row.")
                others = []
            joined += [first, *others]
        self.messages = joined

    def rendered(self, message: NormalisedMessage) -> JsonObject:
        """Return a message as templates read it."""
        fields: JsonObject = {"role": message.role, "content": message.text}
        if message.speaker:
            fields["name"] = message.speaker
        if message.reasoning:
            fields["reasoning_content"] = message.reasoning
        if message.calls:
            fields["tool_calls"] = [self._call(call, message) for call in message.calls]
        if message.call:
            fields |= {"tool_call_id": message.call.id, "name": message.call.name}
        return fields

    def _call(self, call: Call, message: NormalisedMessage) -> JsonObject:
        function = {"name": call.name, "arguments": self._arguments(call, message)}
        return {"id": call.id, "type": "function", "function": function}

    def _arguments(self, call: Call, message: NormalisedMessage) -> JsonObject:
        """Return the arguments of a call as the mapping that templates want; text that is no object is one argument."""
        if not call.arguments.strip():
            return {}
        try:
            arguments: Any = msgspec.json.decode(call.arguments)
        except (msgspec.DecodeError, RecursionError):
            arguments = None
        if isinstance(arguments, dict):
            return arguments
        why = f"The arguments of the call '{call.id}' are no JSON object, so they are shown as one text."
        self._did("arguments_as_text", message, why)
        return {"arguments": call.arguments}

    def _did(self, what: str, message: NormalisedMessage, why: str) -> None:
        self.steps.append(PromptChange(what, message.index, why))


def _parameters(tool: JsonObject) -> JsonObject:
    """Return the parameters of a tool's function, with empty properties where it has none."""
    return {"type": "object", "properties": {}} | (tool["function"].get("parameters") or {})


def _with_gap(*texts: str) -> str:
    return GAP.join(text for text in texts if text)
