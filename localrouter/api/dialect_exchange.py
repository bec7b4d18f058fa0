"""The exchange of a dialect: its request becomes a chat request, and the chunks become its events."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from localrouter.api.exchange import Exchange, errors_as_sent
from localrouter.api.reply import Reply
from localrouter.api.service import Service
from localrouter.api.sse import StreamForm
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.explanation import explain
from localrouter.dialects.dialect import Dialect, Translation
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.explain import Explanation
from localrouter.schema.ignored_fields import ignored_fields
from localrouter.schema.model_request import ModelRequest

Body = TypeVar("Body", bound=ModelRequest)


def generating(service: Service, dialect: Dialect[Body], form: StreamForm) -> Exchange[Body]:
    """Return the exchange that generates the response to a request of `dialect`; `form` is that of its streams."""

    async def respond(engine: LeasedEngine, request: Body, reply: Reply) -> None:
        translation = dialect.translate(request)
        reply.name(translation.ignored)
        with _chat_request(translation) as chat:
            completion = await Completion.begin(engine, chat, service.renderer, engine.defaults)
        translator = dialect.translator(request, completion)
        await reply.translated(completion, translator, form, stream=getattr(request, "stream", None))

    return Exchange(service, dialect.request, respond)


def explaining(service: Service, dialect: Dialect[Body]) -> Exchange[Body]:
    """Return the exchange that shows the chat request and the prompt that a request of `dialect` becomes."""

    async def respond(engine: LeasedEngine, request: Body, reply: Reply) -> None:
        translation = dialect.translate(request)
        with _chat_request(translation) as chat:
            explanation = await explain(engine, chat, service.renderer, engine.defaults)
        explanation = _of_dialect(explanation, request, translation)
        reply.name(explanation.ignored, explanation.not_enforced)
        await reply.plain(explanation)

    return Exchange(service, dialect.request, respond)


@contextmanager
def _chat_request(translation: Translation) -> Iterator[ChatRequest]:
    """Yield the chat request. Errors inside of the block name the fields of the dialect's request."""
    sources = ModelRequest()
    sources.note_foreign_fields({}, translation.sources)
    with errors_as_sent(sources):
        yield translation.chat_request()


def _of_dialect(explanation: Explanation, request: ModelRequest, translation: Translation) -> Explanation:
    return msgspec.structs.replace(
        explanation,
        chat_request=dict(translation.fields),
        steps=[*translation.steps, *explanation.steps],
        ignored=[*ignored_fields(request), *translation.ignored, *explanation.ignored],
    )
