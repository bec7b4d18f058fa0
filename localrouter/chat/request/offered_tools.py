"""The functions that a request offers, and what the model may do with them; the older form of both included."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.tools import AllowedToolChoice, FunctionDefinition, FunctionName, NamedTool


@dataclass(frozen=True)
class OfferedTools:
    """What may be called. With no functions, nothing may."""

    functions: Sequence[FunctionDefinition] = ()
    """All that the request defines: the model sees them whatever it may call, so that prompts are shared."""
    callable: Sequence[FunctionDefinition] = ()
    must_call: bool = False
    parallel: bool = True
    """Whether an answer may have several calls."""
    is_old_form: bool = False
    """Whether the request, and so the answer, speaks of `functions`; such an answer has at most one call."""

    @property
    def shown(self) -> list[JsonObject]:
        """The definitions as chat templates want them."""
        return [{"type": "function", "function": _shown(function)} for function in self.functions]


def offered_tools(request: ChatRequest) -> OfferedTools:
    """Return what a request offers. Raises InvalidRequest where its fields contradict each other."""
    if request.functions and request.tools:
        raise _invalid("'tools' and 'functions' are two forms of one thing; send one of them.", "functions")
    _refuse_choice_of_nothing(request)
    if request.functions:
        return _chosen(request.functions, request.function_call, "function_call", parallel=False, is_old_form=True)
    functions = [tool.function for tool in request.tools or ()]
    if not functions:
        return OfferedTools()
    parallel = request.parallel_tool_calls is not False
    return _chosen(functions, request.tool_choice, "tool_choice", parallel=parallel, is_old_form=False)


def _refuse_choice_of_nothing(request: ChatRequest) -> None:
    """Raise InvalidRequest for a choice in the form of which the request offers nothing, where that would drop it."""
    passes = (None, "auto") if request.tools or request.functions else (None, "auto", "none")
    for param, choice, needed, offered in (
        ("tool_choice", request.tool_choice, "tools", request.tools),
        ("function_call", request.function_call, "functions", request.functions),
    ):
        if not offered and choice not in passes:
            raise _invalid(f"'{param}' is only allowed when '{needed}' are sent.", param)


def _chosen(
    functions: Sequence[FunctionDefinition],
    choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolChoice | FunctionName | None,
    param: str,
    *,
    parallel: bool,
    is_old_form: bool,
) -> OfferedTools:
    by_name: dict[str, FunctionDefinition] = {}
    for index, function in enumerate(functions):
        if function.name in by_name:
            where = f"functions[{index}].name" if is_old_form else f"tools[{index}].function.name"
            raise _invalid(f"There are two functions of the name '{function.name}'.", where)
        by_name[function.name] = function
    names, must_call, path = _names(choice, list(by_name))
    for name in names:
        if name not in by_name:
            raise _invalid(f"No function of the request has the name '{name}'.", param + path)
    return OfferedTools(functions, [by_name[name] for name in dict.fromkeys(names)], must_call, parallel, is_old_form)


def _names(
    choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolChoice | FunctionName | None, every: list[str]
) -> tuple[list[str], bool, str]:
    """Return the names that may be called, whether one must be, and where in the choice they stand."""
    match choice:
        case NamedTool():
            return [choice.function.name], True, ".function.name"
        case FunctionName():
            return [choice.name], True, ".name"
        case AllowedToolChoice(allowed_tools=allowed):
            return [tool.function.name for tool in allowed.tools], allowed.mode == "required", ".allowed_tools.tools"
        case "none":
            return [], False, ""
        case _:
            return every, choice == "required", ""


def _shown(function: FunctionDefinition) -> JsonObject:
    """Return a definition as the request has it, with all that templates read: some fail without a description."""
    return {
        "name": function.name,
        "description": function.description or "",
        "parameters": function.parameters or {"type": "object", "properties": {}},
    }


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="invalid_value")
