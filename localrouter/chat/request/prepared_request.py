"""A chat request prepared for an engine: the rendered prompt, sampling parameters, and the rules for the output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from localrouter.chat.families.family import Family
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.output_grammar import AnyText, Content, OutputRules, output_grammar
from localrouter.chat.model_facts import ModelFacts
from localrouter.chat.parsing.parser import Parser
from localrouter.chat.prompt.chat_prompt import Prompt, PromptRequest, Renderer
from localrouter.chat.prompt.history import normalised
from localrouter.chat.request.alias_system import alias_system, with_system, with_system_step
from localrouter.chat.request.continuation import continues_last
from localrouter.chat.request.reasoning import (
    ReasoningState,
    reasoning_state,
    template_variables,
    thinking_of,
    unread_fields,
)
from localrouter.chat.request.response_format import content_of, grammar_param
from localrouter.chat.request.sampling_params import check_min_tokens, sampling_of
from localrouter.chat.request.tool_set import ToolSet, tool_set
from localrouter.engine.generation_request import Grammar, Sampling, Thinking, ToolCalls
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.explain import NotEnforced
from localrouter.schema.ignored_fields import IgnoredField


@dataclass(frozen=True)
class PreparedRequest:
    """Everything that the engine needs to generate the choices, and everything needed to parse its output."""

    prompt: Prompt
    sampling: Sampling
    max_tokens: int | None
    choices: int
    """Number of choices, `n` of the request."""
    tools: ToolSet
    family: Family
    reasoning: ReasoningState
    thinking: Thinking | None
    """None where no text is reasoning: for a model that does not reason, and where the grammar has no place for it."""
    grammar: Grammar | None
    has_response_format: bool
    """Whether the request sets a `response_format`, a regular expression or a grammar for the content."""
    grammar_param: str | None
    """The field of the request that the grammar comes from; errors of the grammar name this field."""
    rules: OutputRules
    """The rules from which the grammar was written."""
    special_tokens: Mapping[str, int]
    """Token ids of the model's special tokens, by text."""
    not_enforced: Sequence[NotEnforced] = ()
    """Parts of the request's schemas that the grammar does not enforce."""
    prompt_logprobs: int | None = None
    """Likeliest tokens that are reported for each token of the prompt; None: none, and no log probabilities."""
    alias_defaults: Sequence[str] = ()
    """Names of the fields whose values come from the alias: sampling parameters, and `system`."""
    ignored: Sequence[IgnoredField] = ()
    """Fields of the request that have no effect on this model."""

    def parser(self) -> Parser:
        """Return a new parser, for the output of one choice."""
        return Parser(self.family, {function.name: function.parameters or {} for function in self.tools.callable})

    def relaxed(self, why: str) -> "PreparedRequest | None":
        """Return the request with a grammar that enforces nothing of schemas that are not strict, for the reason `why`.

        None: the request has no such schema.
        """
        rules = self.rules.unenforced(why)
        if rules is None:
            return None
        output = output_grammar(rules, self.family, self.special_tokens)
        return replace(self, rules=rules, grammar=output.grammar, not_enforced=output.not_enforced)

    def sampling_for(self, index: int) -> Sampling:
        """Return the sampling parameters of one choice: the request's seed plus the index of the choice."""
        seed = self.sampling.seed
        return self.sampling if seed is None else msgspec.structs.replace(self.sampling, seed=seed + index)

    @property
    def calls(self) -> ToolCalls | None:
        """Delimiters of tool calls; None where the output may have no tool calls."""
        return self.family.calls if self.tools.callable else None

    @property
    def delimiters(self) -> tuple[str, ...]:
        """Delimiters of reasoning and tool calls, which are control tokens of some models."""
        pairs = (self.family.reasoning, self.family.call)
        return tuple(text for pair in pairs for text in (pair.begin, pair.end))


async def prepare(request: ChatRequest, model: ModelFacts, renderer: Renderer) -> PreparedRequest:
    """Return the request prepared for a model. Raises InvalidRequest for what the model or its template rejects."""
    from_alias, request = [*model.defaults.absent_in(request)], model.defaults.complete(request)
    system = alias_system(request.messages, model.defaults)
    choices = _choices(request, model.info)
    tools, content = tool_set(request), content_of(request)
    is_structured = not isinstance(content, AnyText)
    sampling = sampling_of(request, model.info, logprobs=(request.top_logprobs or 0) if request.logprobs else None)
    max_tokens = request.max_completion_tokens or request.max_tokens
    check_min_tokens(sampling, max_tokens, "max_tokens" if request.max_tokens else "max_completion_tokens")
    prompt = await renderer.render(model.template, prompt_request(request, tools, system=system))
    reasoning = reasoning_state(prompt, model.family, can_reason=model.can_reason)
    rules = _rules(content, tools, reasoning)
    output = output_grammar(rules, model.family, model.info.special_tokens)
    may_reason = reasoning == "open" or (model.can_reason and not (output.lark is not None and reasoning == "none"))
    return PreparedRequest(
        prompt=with_system_step(prompt, system),
        sampling=sampling if is_structured or sampling.ignore_eos else _with_stop(sampling, model.template_stop),
        max_tokens=max_tokens,
        choices=choices,
        tools=tools,
        family=model.family,
        reasoning=reasoning,
        # Without a grammar a model may also begin to reason where its template has just ended reasoning.
        thinking=thinking_of(request, model.family, is_open=reasoning == "open") if may_reason else None,
        grammar=output.grammar,
        has_response_format=is_structured,
        grammar_param=grammar_param(request),
        alias_defaults=from_alias if system is None else [*from_alias, "system"],
        rules=rules,
        special_tokens=model.info.special_tokens,
        not_enforced=output.not_enforced,
        prompt_logprobs=request.prompt_logprobs,
        ignored=unread_fields(request, prompt.unread),
    )


def _choices(request: ChatRequest, info: ModelInfo) -> int:
    """Return the number of choices. Raises InvalidRequest for more than the model generates at the same time."""
    choices = request.n or 1
    if choices > info.max_sequences:
        message = f"This model generates at most {info.max_sequences} choices at once; 'n' asks for {choices}."
        raise InvalidRequest(message, param="n", code="invalid_value")
    return choices


def prompt_request(
    request: ChatRequest, tools: ToolSet, *, system: str | None = None, begin_turn: bool = True
) -> PromptRequest:
    """Return the parts of a request that its prompt is rendered from. `system` is the system message of the alias."""
    return PromptRequest(
        messages=with_system(normalised(request.messages), system),
        tools=tools.shown,
        variables=template_variables(request),
        continue_final=continues_last(request.messages, request.continue_final_message),
        begin_turn=begin_turn,
    )


def _rules(content: Content, tools: ToolSet, reasoning: ReasoningState) -> OutputRules:
    return OutputRules(
        content=content,
        reasoning=reasoning,
        tools=_callable_tools(tools),
        must_call=tools.must_call,
        parallel=tools.parallel,
        has_shown_tools=bool(tools.functions),
    )


def _callable_tools(tools: ToolSet) -> list[CallableTool]:
    """Return the tools that may be called, each with the place of its schema in the request."""
    place = "functions[{}].parameters" if tools.is_old_form else "tools[{}].function.parameters"
    places = {function.name: place.format(index) for index, function in enumerate(tools.functions)}
    return [
        CallableTool(function.name, function.parameters, places[function.name], is_strict=bool(function.strict))
        for function in tools.callable
    ]


def _with_stop(sampling: Sampling, stop: tuple[str, ...]) -> Sampling:
    """Return the sampling parameters with more stop strings."""
    return msgspec.structs.replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *stop)))) if stop else sampling
