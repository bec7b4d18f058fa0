"""What a chat request asks of an engine: the prompt, how to draw, and what the answer has to obey."""

from dataclasses import dataclass

import msgspec

from localrouter.chat.families.detection import family_of, thinks
from localrouter.chat.families.family import Family
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.output_grammar import AnyText, OutputRules, answer_grammar
from localrouter.chat.parsing.parser import Parser
from localrouter.chat.prompt.chat_prompt import Prompt, PromptRequest, Renderer
from localrouter.chat.prompt.fallback_template import template_stop
from localrouter.chat.prompt.turns import turns_of
from localrouter.chat.request.offered_tools import OfferedTools, offered_tools
from localrouter.chat.request.reasoning import ThoughtState, template_variables, thinking_of, thought_state
from localrouter.chat.request.response_format import content_of, form_param
from localrouter.chat.request.sampling_params import sampling_of
from localrouter.engine.messages import Grammar, Sampling, Thinking, ToolCalls
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest


@dataclass(frozen=True)
class PreparedRequest:
    """All that an engine needs to answer, and what it takes to read the answer."""

    prompt: Prompt
    sampling: Sampling
    max_tokens: int | None
    choices: int
    offer: OfferedTools
    family: Family
    thought: ThoughtState
    thinking: Thinking | None
    """None where nothing may be reasoning: for a model that does not think, and where the grammar admits none."""
    grammar: Grammar | None
    has_response_format: bool
    """Whether content is held to a form that the request promises."""
    form_param: str | None
    """The field that the grammar comes from, for an engine that cannot hold an answer to it."""

    def parser(self) -> Parser:
        """Return a reader for one answer."""
        return Parser(self.family, {function.name: function.parameters or {} for function in self.offer.callable})

    def sampling_for(self, index: int) -> Sampling:
        """Return how the answer of this number is drawn: each has a seed of its own, the first that of the request."""
        seed = self.sampling.seed
        return self.sampling if seed is None else msgspec.structs.replace(self.sampling, seed=seed + index)

    @property
    def calls(self) -> ToolCalls | None:
        """How calls are found, where the answer may have some."""
        return self.family.calls if self.offer.callable else None

    @property
    def delimiters(self) -> tuple[str, ...]:
        """The marks that an answer may have, which some models hold as control tokens."""
        marks = (self.family.thought, self.family.call)
        return tuple(text for mark in marks for text in (mark.begin, mark.end))


async def prepare(request: ChatRequest, info: ModelInfo, renderer: Renderer) -> PreparedRequest:
    """Return what the request asks of this model. Raises InvalidRequest for what it cannot be asked."""
    choices = request.n or 1
    if choices > info.max_sequences:
        message = f"This model answers at most {info.max_sequences} times at once; 'n' asks for {choices}."
        raise InvalidRequest(message, param="n", code="invalid_value")
    offer, family = offered_tools(request), family_of(info)
    sampling = sampling_of(request, info, logprobs=(request.top_logprobs or 0) if request.logprobs else None)
    prompt = await renderer.render(
        PromptRequest(
            info=info,
            family=family,
            turns=turns_of(request.messages),
            tools=offer.shown,
            variables=template_variables(request),
            continue_final=bool(request.continue_final_message),
        )
    )
    thought = thought_state(prompt, family, thinks=thinks(info))
    has_response_format = not isinstance(content_of(request), AnyText)
    lark = answer_grammar(_answer(request, offer, thought), family, info.special_tokens)
    return PreparedRequest(
        prompt=prompt,
        sampling=sampling if has_response_format else _with_stop(sampling, template_stop(info)),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        choices=choices,
        offer=offer,
        family=family,
        thought=thought,
        thinking=_thinking(request, family, thought, thinks=thinks(info), has_grammar=lark is not None),
        grammar=None if lark is None else Grammar(lark),
        has_response_format=has_response_format,
        form_param=form_param(request),
    )


def _with_stop(sampling: Sampling, stop: tuple[str, ...]) -> Sampling:
    """Return the sampling with more stop strings added."""
    return msgspec.structs.replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *stop)))) if stop else sampling


def _thinking(
    request: ChatRequest, family: Family, thought: ThoughtState, *, thinks: bool, has_grammar: bool
) -> Thinking | None:
    """Return how reasoning is found. An answer that a grammar leaves no place for it is all text and calls.

    Without a grammar a model may reason also where its template has just ended that.
    """
    if thought == "open" or (thinks and not (has_grammar and thought == "none")):
        return thinking_of(request, family, is_open=thought == "open")
    return None


def _answer(request: ChatRequest, offer: OfferedTools, thought: ThoughtState) -> OutputRules:
    """Return what the answer has to obey."""
    place = "functions[{}].parameters" if offer.is_old_form else "tools[{}].function.parameters"
    places = {function.name: place.format(index) for index, function in enumerate(offer.functions)}
    return OutputRules(
        content=content_of(request),
        thought=thought,
        tools=[CallableTool(function.name, function.parameters, places[function.name]) for function in offer.callable],
        must_call=offer.must_call,
        parallel=offer.parallel,
        has_shown_tools=bool(offer.functions),
    )
