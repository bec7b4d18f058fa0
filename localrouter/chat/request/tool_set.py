"""The tools of a request and which of them the model may or must call; OpenAI's older `functions` included."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from localrouter.chat.request.shown_schema import shown_schema
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.tools import AllowedToolChoice, FunctionDefinition, FunctionName, NamedTool


@dataclass(frozen=True)
class ToolSet:
    """The functions of a request, and the rules for calling them."""

    functions: Sequence[FunctionDefinition] = ()
    """All functions of the request. The prompt shows all, so that requests with other choices share its prefix."""
    callable: Sequence[FunctionDefinition] = ()
    """Functions that the model may call."""
    must_call: bool = False
    """Whether the model must call at least one function."""
    parallel: bool = True
    """Whether an output may have several calls."""
    is_old_form: bool = False
    """Whether the request has `functions` instead of `tools`; its response has `function_call`, at most one."""

    @property
    def shown(self) -> list[JsonObject]:
        """Definitions of all functions in the form that chat templates read."""
        return [{"type": "function", "function": _shown(function)} for function in self.functions]


def tool_set(request: ChatRequest) -> ToolSet:
    """Return the tools of a request. Raises InvalidRequest where fields of the request contradict each other."""
    if request.functions and request.tools:
        raise _invalid("'tools' and 'functions' are two forms of one thing; send one of them.", "functions")
    _check_choice_has_tools(request)
    if request.functions:
        return _chosen(request.functions, request.function_call, "function_call", parallel=False, is_old_form=True)
    functions = [tool.function for tool in request.tools or ()]
    if not functions:
        return ToolSet()
    parallel = request.parallel_tool_calls is not False
    return _chosen(functions, request.tool_choice, "tool_choice", parallel=parallel, is_old_form=False)


def _check_choice_has_tools(request: ChatRequest) -> None:
    """Raise InvalidRequest for `tool_choice` without `tools`, and for `function_call` without `functions`."""
    passes = (None, "auto") if request.tools or request.functions else (None, "auto", "none")
    for param, choice, needed, tools in (
        ("tool_choice", request.tool_choice, "tools", request.tools),
        ("function_call", request.function_call, "functions", request.functions),
    ):
        if not tools and choice not in passes:
            raise _invalid(f"'{param}' is only allowed when '{needed}' are sent.", param)


def _chosen(
    functions: Sequence[FunctionDefinition],
    choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolChoice | FunctionName | None,
    param: str,
    *,
    parallel: bool,
    is_old_form: bool,
) -> ToolSet:
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
    return ToolSet(functions, [by_name[name] for name in dict.fromkeys(names)], must_call, parallel, is_old_form)


def _names(
    choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolChoice | FunctionName | None, every: list[str]
) -> tuple[list[str], bool, str]:
    """Return the names that the model may call, whether it must call one, and the path of the names in the choice."""
    match choice:
        case NamedTool():
            return [choice.chosen], True, ".name" if choice.function is None else ".function.name"
        case FunctionName():
            return [choice.name], True, ".name"
        case AllowedToolChoice(allowed_tools=allowed):
            return [tool.chosen for tool in allowed.tools], allowed.mode == "required", ".allowed_tools.tools"
        case "none":
            return [], False, ""
        case _:
            return every, choice == "required", ""


def _shown(function: FunctionDefinition) -> JsonObject:
    """Return a definition with every field that templates read: some fail without a description."""
    return {
        "name": function.name,
        "description": function.description or "",
        "parameters": shown_schema(function.parameters or {"type": "object", "properties": {}}),
    }


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="invalid_value")
