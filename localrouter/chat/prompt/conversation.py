"""Makes any conversation of OpenAI's fit the chat template of a model, and says what it did.

What a template takes as it is stays as it is, so that prompts are what the model was trained on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from localrouter.chat.families.family import Family
from localrouter.chat.families.prompted_tools import FALLBACK, call_text, instructions, result_text
from localrouter.chat.prompt.template import ChatTemplate
from localrouter.chat.prompt.template_capabilities import TemplateCapabilities, capabilities_of
from localrouter.chat.prompt.turns import Call, Turn
from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject

GAP = "\n\n"
"""Between texts that are joined."""

SYSTEM = ("system", "developer")


class PromptChange(msgspec.Struct, frozen=True):
    """Something that was done to a conversation: in a word, to which message of the request (None: none), and why."""

    what: str
    where: int | None
    why: str


@dataclass(frozen=True)
class Conversation:
    """Messages and tools as a template takes them, and what was done so that it does."""

    messages: list[JsonObject]
    tools: list[JsonObject] | None
    steps: list[PromptChange]


def conversation_of(
    turns: Sequence[Turn],
    tools: Sequence[JsonObject],
    template: ChatTemplate,
    family: Family,
    *,
    continue_final: bool = False,
) -> Conversation:
    """Return what `template` takes for the `turns` and `tools` of a request; `family` says how its thoughts are marked.

    Raises InvalidRequest when the answer should continue a last message that is not the assistant's or has calls.
    """
    if continue_final and (turns[-1].role != "assistant" or turns[-1].calls):
        raise InvalidRequest(
            "'continue_final_message' needs a last message with role 'assistant' that calls nothing.",
            param="continue_final_message",
            code="invalid_value",
        )
    fitting = _Fitting([msgspec.structs.replace(turn) for turn in turns], capabilities_of(template))
    fitting.mark_developers()
    fitting.write_names()
    if template.mentions(family.thought.end):
        fitting.split_thoughts(family)
    shows_tools = family != FALLBACK and "tools" in template.variables
    if not shows_tools:
        fitting.write_tools(tools)
    fitting.merge_systems()
    fitting.add_user()
    fitting.move_system_to_user()
    fitting.join_repeated()
    messages = [fitting.message(turn) for turn in fitting.turns]
    return Conversation(messages, fitting.definitions(tools) if tools and shows_tools else None, fitting.steps)


class _Fitting:
    """A conversation on its way to fit."""

    def __init__(self, turns: list[Turn], traits: TemplateCapabilities):
        self.turns = turns
        self.traits = traits
        self.steps: list[PromptChange] = []

    def mark_developers(self) -> None:
        """`developer` is OpenAI's newer name of `system`, which Qwen's templates leave out, or write as it is."""
        for place, turn in enumerate(self.turns):
            if turn.role == "developer" and not (place == 0 and self.traits.developer):
                turn.role = "system"
                self._did("developer_as_system", turn, "The template does not know the role 'developer' here.")

    def write_names(self) -> None:
        for turn in self.turns:
            if turn.speaker and not self.traits.names:
                turn.text = f"{turn.speaker}: {turn.text}"
                turn.speaker = ""
                self._did("name_in_text", turn, "The template does not show names, so this one stands before the text.")

    def split_thoughts(self, family: Family) -> None:
        """Templates cut an answer at the marks of a thought; in protected text they would not find them."""
        begin, end = family.thought.begin, family.thought.end
        for turn in self.turns:
            text = turn.text.lstrip()
            if turn.role != "assistant" or turn.thought or not text.startswith(begin) or end not in text:
                continue
            thought, turn.text = text.removeprefix(begin).split(end, 1)
            turn.thought = thought.strip().removeprefix(family.thought_title).strip()
            turn.text = turn.text.lstrip("\n")
            self._did("thought_split", turn, "The text begins with a thought, which the template wants by itself.")

    def write_tools(self, tools: Sequence[JsonObject]) -> None:
        for turn in self.turns:
            if turn.calls:
                blocks = [call_text(call.name, self._arguments(call, turn)) for call in turn.calls]
                turn.text, turn.calls = "\n".join([*([turn.text] if turn.text else []), *blocks]), []
                self._did("calls_in_text", turn, "The template does not show calls, so they are written as text.")
        self.turns = list(self._results_as_text())
        if tools:
            self.turns.insert(0, Turn("system", instructions([tool["function"] for tool in tools])))
            if len(self.turns) > 1 and self.turns[1].role in SYSTEM:
                system = self.turns.pop(1)
                self.turns[0] = Turn(system.role, _with_gap(system.text, self.turns[0].text), system.index)
            self._did("tools_in_system", self.turns[0], "The template does not show tools, so the system message does.")

    def _results_as_text(self) -> Iterable[Turn]:
        """Yield the turns with all results of one answer in one turn of the user, as templates have them."""
        for is_result, run in groupby(self.turns, lambda turn: turn.role == "tool"):
            turns = list(run)
            if is_result:
                yield Turn("user", "\n".join(result_text(turn.text) for turn in turns), turns[0].index)
                for turn in turns:
                    self._did("result_in_text", turn, "The template does not show results, so the user says them.")
            else:
                yield from turns

    def definitions(self, tools: Sequence[JsonObject]) -> list[JsonObject]:
        """Return the tools, with an empty list of parameters added where the template fails without one."""
        if self.traits.bare_functions:
            return list(tools)
        completed = [tool | {"function": tool["function"] | {"parameters": _parameters(tool)}} for tool in tools]
        if completed != list(tools):
            why = "The template fails on a function without parameters, so an empty list of them was added."
            self.steps.append(PromptChange("added_parameters", None, why))
        return completed

    def merge_systems(self) -> None:
        if self.traits.later_system:
            return
        systems = [turn for turn in self.turns if turn.role in SYSTEM]
        if not systems or (len(systems) == 1 and systems[0] is self.turns[0]):
            return
        first = systems[0]
        moved = systems[1:] if first is self.turns[0] else systems
        self.turns = [first, *(turn for turn in self.turns if turn.role not in SYSTEM)]
        first.text = _with_gap(*(turn.text for turn in systems))
        for turn in moved:
            self._did("merged_system", turn, "The template takes one system message, in the first place.")

    def add_user(self) -> None:
        """An empty turn of the user changes least of what a model reads: it says nothing that nobody said."""
        systems = sum(1 for turn in self.turns if turn.role in SYSTEM)
        spoken = [turn for turn in self.turns if turn.role not in SYSTEM]
        lacks_user = not any(turn.role == "user" for turn in spoken)
        if lacks_user and not self.traits.without_user:
            why = "The template refuses a conversation without a turn of the user, so an empty one was added."
        elif spoken and spoken[0].role == "assistant" and not self.traits.assistant_first:
            why = (
                "The template refuses a conversation that the assistant begins, so an empty turn of the user was added."
            )
        else:
            return
        place = systems if lacks_user and not spoken else self.turns.index(spoken[0])
        self.turns.insert(place, Turn("user", ""))
        self._did("added_user", self.turns[place], why)

    def move_system_to_user(self) -> None:
        if self.traits.system or self.turns[0].role not in SYSTEM:
            return
        system = self.turns.pop(0)
        user = next((turn for turn in self.turns if turn.role == "user"), None)
        if user is None:
            system.role = "user"
            self.turns.insert(0, system)
        else:
            user.text = _with_gap(system.text, user.text)
        self._did("system_in_user", system, "The template takes no system message, so the user's first turn says it.")

    def join_repeated(self) -> None:
        if self.traits.repeated_role:
            return
        joined: list[Turn] = []
        for role, run in groupby(self.turns, lambda turn: turn.role):
            first, *others = run
            if role != "tool" and others:
                turns = [first, *others]
                first.text = _with_gap(*(turn.text for turn in turns))
                first.thought = _with_gap(*(turn.thought for turn in turns))
                first.calls = [call for turn in turns for call in turn.calls]
                for turn in others:
                    self._did("joined_turns", turn, f"The template refuses two turns of the {role} in a row.")
                others = []
            joined += [first, *others]
        self.turns = joined

    def message(self, turn: Turn) -> JsonObject:
        """Return a turn as templates take it."""
        message: JsonObject = {"role": turn.role, "content": turn.text}
        if turn.speaker:
            message["name"] = turn.speaker
        if turn.thought:
            message["reasoning_content"] = turn.thought
        if turn.calls:
            message["tool_calls"] = [self._call(call, turn) for call in turn.calls]
        if turn.call:
            message |= {"tool_call_id": turn.call.id, "name": turn.call.name}
        return message

    def _call(self, call: Call, turn: Turn) -> JsonObject:
        function = {"name": call.name, "arguments": self._arguments(call, turn)}
        return {"id": call.id, "type": "function", "function": function}

    def _arguments(self, call: Call, turn: Turn) -> JsonObject:
        """Return the arguments of a call as the mapping that templates want, without loss where they are none."""
        if not call.arguments.strip():
            return {}
        try:
            arguments: Any = msgspec.json.decode(call.arguments)
        except (msgspec.DecodeError, RecursionError):
            arguments = None
        if isinstance(arguments, dict):
            return arguments
        why = f"The arguments of the call '{call.id}' are no JSON object, so they are shown as one text."
        self._did("arguments_as_text", turn, why)
        return {"arguments": call.arguments}

    def _did(self, what: str, turn: Turn, why: str) -> None:
        self.steps.append(PromptChange(what, turn.index, why))


def _parameters(tool: JsonObject) -> JsonObject:
    """Return the parameters of a tool's function, with properties where it has none."""
    return {"type": "object", "properties": {}} | (tool["function"].get("parameters") or {})


def _with_gap(*texts: str) -> str:
    return GAP.join(text for text in texts if text)
