"""From the normalised messages of a request to the prompt of a model. Pure."""

from typing import Any, Protocol

import msgspec

from localrouter.chat.families.family import Family
from localrouter.chat.prompt.conversation import conversation_of
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.chat.prompt.normalised_message import NormalisedMessage
from localrouter.chat.prompt.prompt_change import PromptChange
from localrouter.chat.prompt.template import ChatTemplate, compiled
from localrouter.engine.generation_request import Segment


class PromptRequest(msgspec.Struct, frozen=True):
    """The parts of a request that its prompt is rendered from."""

    messages: list[NormalisedMessage]
    tools: list[dict[str, Any]] = []
    variables: dict[str, Any] = {}
    """Variables of the chat template that the client sets."""
    continue_final: bool = False
    """Whether the prompt ends inside the last message, which is the assistant's."""
    begin_turn: bool = True
    """Whether the prompt begins the assistant's next turn, where it does not end inside a message."""


class Prompt(msgspec.Struct, frozen=True):
    """The rendered prompt that the engine continues, and the changes that fitted the messages to the template."""

    segments: list[Segment]
    steps: list[PromptChange]
    in_reasoning: bool
    """Whether the prompt ends inside reasoning."""
    unread: list[str] = []
    """Variables of the request that the template does not read."""


class Renderer(Protocol):
    """Renders the prompts of requests."""

    async def render(self, model: ModelTemplate, request: PromptRequest) -> Prompt:
        """Return the prompt. Raises InvalidRequest when the template is broken, or rejects or fails on the request."""

    async def close(self) -> None:
        """Free processes and pipes. Called when no request is left."""


def prompt_of(model: ModelTemplate, request: PromptRequest) -> Prompt:
    """Return the prompt for a request to a model. Raises InvalidRequest when the template is broken or rejects it.

    The template runs in this process and may never end: the server uses `renderer_pool.RendererPool` instead.
    """
    template = compiled(model)
    conversation = conversation_of(
        request.messages, request.tools, template, model.family, continue_final=request.continue_final
    )
    segments = template.render(
        conversation.messages,
        ask=request.begin_turn,
        tools=conversation.tools,
        continue_final=request.continue_final,
        variables=request.variables,
    )
    steps = conversation.steps
    ends_in_result = request.begin_turn and request.messages[-1].role == "tool"
    if ends_in_result and (opening := _missing_opening(template, segments, request.variables)):
        why = "The template ended the turn after these results, so the assistant's next one was begun."
        segments, steps = (
            [*segments, Segment(opening, control=True)],
            [*steps, PromptChange("added_opening", None, why)],
        )
    unread = [name for name in request.variables if name not in template.variables]
    return Prompt(segments, steps, ends_in_reasoning(segments, model.family), unread)


def _missing_opening(template: ChatTemplate, segments: list[Segment], variables: dict[str, Any]) -> str:
    """Return the text that begins the assistant's turn, if a prompt that ends with tool results lacks it.

    After results Gemma 4's template leaves the assistant's turn open, and no new turn has to begin. But for a message
    with calls and text, it writes the text after the results, ends the turn, and begins no other.
    """
    last = {"role": "assistant", "content": "alpha"}
    turns = [{"role": "user", "content": "beta"}, last]
    ended = _text(template.render(turns, ask=False, variables=variables))
    opening = _text(template.render(turns, variables=variables)).removeprefix(ended)
    ending = ended.rpartition("alpha")[2]
    return opening if ending.strip() and _text(segments).endswith(ending) else ""


def _text(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def ends_in_reasoning(segments: list[Segment], family: Family) -> bool:
    """Return whether a prompt ends with an opening delimiter of reasoning from the template, white space aside."""
    if not segments or not segments[-1].control:
        return False
    begin = family.reasoning.begin
    return segments[-1].text.rstrip().endswith((begin, begin + family.reasoning_title))
