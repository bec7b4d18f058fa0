"""What the tests of the parser share: reading in pieces, folding what comes out, and messages to read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.parsing.parser import Arguments, CallBegun, CallEnded, Content, Parser, Part, Reasoning
from localrouter.engine.generation_request import Thinking
from localrouter.engine.messages import Piece
from localrouter.engine.output.spans import Span, Spans

FAMILIES = [QWEN3, QWEN3_CODER, GEMMA4]
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "unit": {"anyOf": [{"enum": ["C", "F"]}, {"type": "null"}]},
    },
}
TOOLS: dict[str, Any] = {"get_weather": WEATHER, "now": {}}


@dataclass
class Call:
    """One call as it was sent: its arguments as text."""

    name: str
    arguments: str = ""
    complete: bool | None = None


@dataclass
class Message:
    """What all parts of an answer add up to."""

    reasoning: str = ""
    content: str = ""
    calls: list[Call] = field(default_factory=list)


def fold(parts: Sequence[Part]) -> Message:
    """Add up parts, and see to it that calls come one after the other."""
    message = Message()
    for part in parts:
        match part:
            case Reasoning(text):
                message.reasoning += text
            case Content(text):
                message.content += text
            case CallBegun(index, name):
                assert index == len(message.calls)
                assert all(call.complete is not None for call in message.calls)
                message.calls.append(Call(name))
            case Arguments(index, text):
                assert message.calls[index].complete is None
                assert text
                message.calls[index].arguments += text
            case CallEnded(index, complete):
                assert message.calls[index].complete is None
                message.calls[index].complete = complete
    return message


class Reader:
    """What reads an answer: the engine, which cuts it into spans, and then the parser."""

    def __init__(
        self,
        family: Family,
        *,
        in_reasoning: bool = False,
        thinks: bool = True,
        structured: bool = False,
        tools: Mapping[str, Any] | None = TOOLS,
        tokens: Mapping[str, int] | None = None,
    ) -> None:
        """`tokens` are the delimiters that the vocabulary has as tokens."""
        thinking = Thinking(family.reasoning.begin, family.reasoning.end, in_reasoning) if thinks else None
        self.spans = Spans(thinking, family.calls if tools else None, tokens, structured=structured)
        self.parser = Parser(family, tools)

    def feed(self, text: str, token: int | None = None) -> list[Part]:
        """Return what a token makes certain, neighbours that say more of the same in one."""
        return joined(self._parsed(self.spans.feed(text, token)))

    def flush(self) -> list[Part]:
        """Return the rest at the end of the answer."""
        return joined([*self._parsed(self.spans.flush()), *self.parser.flush()])

    def _parsed(self, spans: list[Span]) -> list[Part]:
        return [part for span in spans for part in self.parser.feed(Piece(1, span.text, (), span.kind, span.edge))]


def joined(parts: Sequence[Part]) -> list[Part]:
    """Return parts with neighbours that say more of the same put together."""
    some: list[Part] = []
    for part in parts:
        match some[-1:], part:
            case [Reasoning(before)], Reasoning(text):
                some[-1] = Reasoning(before + text)
            case [Content(before)], Content(text):
                some[-1] = Content(before + text)
            case [Arguments(_, before)], Arguments(index, text):
                some[-1] = Arguments(index, before + text)
            case _:
                some.append(part)
    return some


def parts_of(family: Family, pieces: Sequence[str], **options: Any) -> list[Part]:
    """Read an answer in pieces."""
    reader = Reader(family, **options)
    return [part for piece in pieces for part in reader.feed(piece)] + reader.flush()


def read(family: Family, *pieces: str, **options: Any) -> Message:
    """Read an answer in pieces, and add up what comes out."""
    return fold(parts_of(family, pieces, **options))


def cut(text: str, places: Sequence[int]) -> list[str]:
    """Cut a text at places that may lie behind its end."""
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:stop] for start, stop in zip([0, *ends], [*ends, len(text)], strict=True)]


def written(family: Family, name: str, arguments: Mapping[str, Any]) -> str:
    """Write a call as the family's chat template does."""
    spelled = {"json": _as_json, "parameters": _as_parameters, "gemma": _as_gemma}[family.syntax](name, arguments)
    return family.call.begin + spelled + family.call.end


def _as_json(name: str, arguments: Mapping[str, Any]) -> str:
    return f"\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n"


def _as_parameters(name: str, arguments: Mapping[str, Any]) -> str:
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in arguments.items()}
    lines = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"\n<function={name}>\n{lines}</function>\n"


def _as_gemma(name: str, arguments: Mapping[str, Any]) -> str:
    return f"call:{name}{_gemma_value(arguments, is_root=True)}"


def _gemma_value(value: Any, *, is_root: bool = False) -> str:
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        members = (
            f"{key if is_root else _gemma_value(key)}:{_gemma_value(each)}" for key, each in sorted(value.items())
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_gemma_value, value)) + "]"
    return json.dumps(value)


texts = st.text("ab \n\"\\<>/{}|é€😀\t'", max_size=20).filter(lambda text: '<|"|>' not in text)
"""Text without marks, but with all that marks are made of."""
names = st.text("ab_9é", min_size=1, max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | texts, inner, max_size=3),
    max_leaves=8,
)
places = st.lists(st.integers(0, 400), max_size=20)
