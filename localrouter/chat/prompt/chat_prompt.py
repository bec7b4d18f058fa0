"""From the turns of a request to the prompt of a model: normalised, rendered, and looked at. Pure."""

from typing import Any, Protocol

import msgspec

from localrouter.chat.families.family import Family
from localrouter.chat.prompt.conversation import PromptChange, conversation_of
from localrouter.chat.prompt.template import ChatTemplate, template_of
from localrouter.chat.prompt.turns import Turn
from localrouter.engine.messages import Segment
from localrouter.engine.model_info import ModelInfo


class PromptRequest(msgspec.Struct, frozen=True):
    """All that a prompt is made of."""

    info: ModelInfo
    family: Family
    turns: list[Turn]
    tools: list[dict[str, Any]] = []
    variables: dict[str, Any] = {}
    """What the client tells the template."""
    continue_final: bool = False
    """Whether the prompt ends inside the last message, which is the assistant's."""


class Prompt(msgspec.Struct, frozen=True):
    """What the engine is to continue, and what was done to the conversation before."""

    segments: list[Segment]
    steps: list[PromptChange]
    in_reasoning: bool
    """Whether the prompt ends inside a thought."""


class Renderer(Protocol):
    """Whoever makes prompts for requests."""

    async def render(self, request: PromptRequest) -> Prompt:
        """Return the prompt. Raises InvalidRequest when the template is broken, or refuses or fails on it."""

    async def close(self) -> None:
        """Free what it holds. Called when no request is left."""


def prompt_of(request: PromptRequest) -> Prompt:
    """Return the prompt for a request. Raises InvalidRequest when the template is broken or refuses it.

    This runs the template, which may take for ever: the serving process leaves it to `renderer.RendererPool`.
    """
    template = template_of(request.info)
    conversation = conversation_of(
        request.turns, request.tools, template, request.family, continue_final=request.continue_final
    )
    segments = template.render(
        conversation.messages,
        tools=conversation.tools,
        continue_final=request.continue_final,
        variables=request.variables,
    )
    steps = conversation.steps
    if request.turns[-1].role == "tool" and (opening := _missing_opening(template, segments, request.variables)):
        why = "The template ended the turn after these results, so the assistant's next one was begun."
        segments, steps = (
            [*segments, Segment(opening, control=True)],
            [*steps, PromptChange("added_opening", None, why)],
        )
    return Prompt(segments, steps, ends_in_reasoning(segments, request.family))


def _missing_opening(template: ChatTemplate, segments: list[Segment], variables: dict[str, Any]) -> str:
    """Return what begins the assistant's turn, if a prompt that ends with results lacks it.

    After results Gemma 4's template leaves the assistant's turn open, so nothing has to begin. But where the answer
    with the calls had a text too, it writes the text after the results, ends the turn, and begins no other.
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
    """Whether a prompt ends with the beginning of a thought that the template has opened, white space aside."""
    if not segments or not segments[-1].control:
        return False
    begin = family.thought.begin
    return segments[-1].text.rstrip().endswith((begin, begin + family.thought_title))
