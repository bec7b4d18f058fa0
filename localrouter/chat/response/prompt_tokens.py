"""Tokens of the prompt of a conversation, without generating anything."""

from localrouter.chat.engine_interface import LoadedEngine
from localrouter.chat.model_facts import facts_of
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.request.alias_system import alias_system
from localrouter.chat.request.prepared_request import prompt_request
from localrouter.chat.request.tool_set import tool_set
from localrouter.engine.messages import Tokens
from localrouter.schema.alias_defaults import AliasDefaults
from localrouter.schema.chat_request import ChatRequest


async def prompt_tokens(
    engine: LoadedEngine,
    request: ChatRequest,
    renderer: Renderer,
    defaults: AliasDefaults,
    *,
    begin_turn: bool = True,
    begin: bool = True,
) -> Tokens:
    """Return the tokens of the prompt of a chat request.

    `defaults` are those of the alias, whose system message may be part of the prompt.
    `begin_turn`: the prompt begins the assistant's turn. `begin`: it begins with the begin-of-text token where the
    model wants one. Raises the error with which the template rejects the request.
    """
    model = facts_of(engine.model, engine.info, defaults)
    system = alias_system(request.messages, defaults)
    asked = prompt_request(request, tool_set(request), system=system, begin_turn=begin_turn)
    prompt = await renderer.render(model.template, asked)
    return await engine.tokenize(prompt.segments, begin)
