"""The cells of the matrix thinking x schema x tools x n: what each asks, and what has to hold of the answer."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jsonschema import Draft202012Validator
from walks import matcher

from localrouter.chat.families.family import Family
from localrouter.chat.families.qwen import QWEN3
from localrouter.chat.grammar.output_grammar import JsonSchema, OutputRules, output_grammar

Json = dict[str, Any]

MAX_TOKENS = 160
BUDGET = 8
"""Tokens of a thought."""
ENDS = ("<|im_end|>", "<turn|>")
TRIP: Json = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 0, "maximum": 99},
        "seats": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "unit": {"anyOf": [{"enum": ["C", "F"]}, {"type": "null"}]},
    },
    "required": ["city", "days", "seats"],
    "additionalProperties": False,
}
"""Everything in it is bounded, for noise ends nothing by itself; the names are sorted, for Gemma writes them so."""
REPORT: Json = {
    "type": "object",
    "properties": {"legs": {"type": "array", "items": TRIP, "minItems": 1, "maxItems": 2}, "ok": {"type": "boolean"}},
    "required": ["legs", "ok"],
    "additionalProperties": False,
}
FUNCTIONS: dict[str, Json] = {"book": TRIP, "stop": {"type": "object", "properties": {}}}


@dataclass(frozen=True)
class Cell:
    """One combination of what a request may ask for."""

    thinks: bool
    has_response_format: bool
    tools: Literal["none", "auto", "required"]
    n: int

    def __str__(self) -> str:
        words = ["thoughts" if self.thinks else "no thoughts", "schema" if self.has_response_format else "text"]
        return ", ".join([*words, f"tools {self.tools}", f"n={self.n}"])

    def body(self, family: Family, marks: Mapping[str, int], *, is_open: bool = False) -> Json:
        """Return the request. Noise is made to use the marks of its family, or it never would.

        `is_open`: its template begins the thought.
        """
        begins = [family.call.begin] if self.tools != "none" else []
        begins += [family.reasoning.begin] if self.thinks and not is_open else []
        body: Json = {
            "model": "noise",
            "messages": [{"role": "user", "content": "Plan a trip."}],
            "seed": 7 + self.n,
            "n": self.n,
            "logprobs": True,
            "max_completion_tokens": MAX_TOKENS,
            "logit_bias": {str(marks[mark]): 10 for mark in (*begins, *ENDS) if mark in marks},
        }
        if self.thinks:
            body |= {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_budget": BUDGET}
        else:
            body |= {"reasoning_effort": "none"}
        if self.has_response_format:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "report", "schema": REPORT}}
        if self.tools != "none":
            functions = [{"name": name, "parameters": schema} for name, schema in FUNCTIONS.items()]
            body["tools"] = [{"type": "function", "function": function} for function in functions]
            body["tool_choice"] = self.tools
        return body


CELLS = [
    Cell(thinks, has_response_format, tools, n)
    for thinks in (False, True)
    for has_response_format in (False, True)
    for tools in ("none", "auto", "required")
    for n in (1, 2)
]


def check(answer: Json, cell: Cell, family: Family) -> None:
    """Raise AssertionError where an answer breaks a promise."""
    assert [choice["index"] for choice in answer["choices"]] == list(range(cell.n))
    _check_usage(answer, cell)
    for choice in answer["choices"]:
        _check_choice(choice, cell, family)


def _check_usage(answer: Json, cell: Cell) -> None:
    usage = answer["usage"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    said = sum(len(choice["logprobs"]["content"]) for choice in answer["choices"] if choice["logprobs"])
    assert reasoning + said <= usage["completion_tokens"] <= cell.n * MAX_TOKENS
    is_cut = [choice["finish_reason"] == "length" for choice in answer["choices"]]
    if all(is_cut):
        assert usage["completion_tokens"] == cell.n * MAX_TOKENS
    if not cell.thinks:
        assert reasoning == 0
    elif any(choice["message"].get("reasoning_content") for choice in answer["choices"]):
        assert reasoning > 0


def _check_choice(choice: Json, cell: Cell, family: Family) -> None:
    message, is_cut = choice["message"], choice["finish_reason"] == "length"
    content, calls = message["content"], message.get("tool_calls", [])
    assert is_cut or choice["finish_reason"] == ("tool_calls" if calls else "stop")
    assert cell.thinks or "reasoning_content" not in message
    marks = [family.reasoning.begin, family.reasoning.end]
    marks += [family.call.begin, family.call.end] if cell.tools != "none" else []
    assert not [mark for mark in marks if mark in (content or "")]
    if cell.tools == "none":
        assert not calls
    elif cell.tools == "required":
        assert not content
        assert calls or is_cut
    if cell.has_response_format and (content or not (calls or is_cut)):
        _check_json(content, REPORT, is_cut=is_cut)
    for number, call in enumerate(calls, 1):
        function = call["function"]
        _check_json(function["arguments"], FUNCTIONS[function["name"]], is_cut=is_cut and number == len(calls))


def _check_json(text: str, schema: Json, *, is_cut: bool) -> None:
    """See to it that a text is what the schema says, or where it is cut that it may become that."""
    if is_cut and not _is_json(text):
        grammar = output_grammar(OutputRules(JsonSchema(schema)), QWEN3, {}).lark
        assert grammar is not None
        tokens = [*text.encode()]
        assert matcher(grammar).validate_tokens(tokens) == len(tokens), text
    else:
        Draft202012Validator(schema).validate(json.loads(text))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def folded(chunks: Iterable[Json]) -> Json:
    """Return the plain answer that OpenAI's chunks add up to, and see to it that they come in order."""
    choices: dict[int, Json] = {}
    usage = None
    for chunk in chunks:
        assert usage is None, "the usage comes last"
        usage = chunk["usage"]
        assert (usage is None) == bool(chunk["choices"])
        for each in chunk["choices"]:
            if each["index"] not in choices:
                assert each["delta"].pop("role") == "assistant"
                choices[each["index"]] = _begun(each["index"])
            _add(choices[each["index"]], each)
    return {"choices": [choices[index] for index in sorted(choices)], "usage": usage}


def _begun(index: int) -> Json:
    message = {"role": "assistant", "content": None, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _add(choice: Json, more: Json) -> None:
    assert choice["finish_reason"] is None, "nothing follows the finish reason"
    choice["finish_reason"] = more["finish_reason"]
    if more.get("logprobs"):
        said = choice["logprobs"] = choice["logprobs"] or {"content": []}
        said["content"] += more["logprobs"]["content"]
    message, delta = choice["message"], more["delta"]
    for name in ("content", "reasoning_content"):
        if delta.get(name) is not None:
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls", []):
        calls = message.setdefault("tool_calls", [])
        if "name" in call["function"]:
            assert call["index"] == len(calls)
            calls.append({"type": call["type"], "function": {"name": call["function"]["name"], "arguments": ""}})
        else:
            assert call["index"] == len(calls) - 1
        calls[-1]["function"]["arguments"] += call["function"]["arguments"]


def comparable(answer: Json) -> Json:
    """Return of a plain answer what another one to the same request has to have too.

    That is all but ids, times, what was in the cache already, and the last digits of numbers that depend on it.
    """
    usage = {name: value for name, value in answer["usage"].items() if name != "prompt_tokens_details"}
    choices = []
    for choice in answer["choices"]:
        said = choice["logprobs"]["content"] if choice["logprobs"] else None
        calls = [call["function"] for call in choice["message"].get("tool_calls", [])]
        message = {**choice["message"], "tool_calls": calls}
        choices.append({**choice, "message": message, "logprobs": said and [token["bytes"] for token in said]})
    return {"choices": choices, "usage": usage}
