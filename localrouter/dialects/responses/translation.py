"""From a request of the Responses API to a chat request."""

from localrouter.dialects.dialect import Translation
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.responses.request import ResponsesRequest

_RENAMED = {"max_output_tokens": "max_completion_tokens"}
_SAME = ("model", "ttl", "temperature", "top_p")


def translate(request: ResponsesRequest) -> Translation:
    """Return the chat request for a request of the Responses API."""
    messages: list[JsonObject] = []
    if request.instructions is not None:
        messages.append({"role": "system", "content": request.instructions})
    messages.append({"role": "user", "content": request.input})
    fields: JsonObject = {"messages": messages}
    fields |= {name: getattr(request, name) for name in _SAME}
    fields |= {chat: getattr(request, own) for own, chat in _RENAMED.items()}
    sources = {chat: own for own, chat in _RENAMED.items()} | {f"messages[{len(messages) - 1}]": "input"}
    return Translation({name: value for name, value in fields.items() if value is not None}, sources)
