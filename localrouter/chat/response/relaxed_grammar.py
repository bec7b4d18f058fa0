"""A second attempt for requests whose grammar does not compile: with a grammar that leaves schemas open."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from localrouter.chat.response.generations import Admission
from localrouter.errors import InvalidRequest

Prepared = TypeVar("Prepared")


async def admitted_or_relaxed(
    prepared: Prepared,
    submit: Callable[[Prepared], Awaitable[Admission]],
    relaxed: Callable[[str], Prepared | None],
) -> tuple[Admission, Prepared]:
    """Submit a request. Return the generations, and the request that the engine accepted.

    A grammar that does not compile is replaced once by one that enforces nothing of the schemas that are not strict:
    one tool must not fail all requests of a client. The compiler does not tell which schema is at fault. The engine
    caches the rejected grammar as well, so that the next request of the conversation costs no second compilation.
    `relaxed` returns the request with such a grammar, for the reason that it is given; None where all is strict.
    """
    try:
        return await submit(prepared), prepared
    except InvalidRequest as error:
        why = f"The grammar of the request cannot be compiled: {error.message}"
        second = relaxed(why) if error.reason == "invalid_grammar" else None
        if second is None:
            raise
    return await submit(second), second
