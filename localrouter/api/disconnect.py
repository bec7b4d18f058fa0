"""Noticing at once that a client has disconnected."""

import asyncio
from collections.abc import Coroutine

from litestar.types import Receive

from localrouter.errors import EngineFailed


class ClientLeft(Exception):
    """The client has closed the connection."""


async def while_connected(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Run `work`; cancel it and raise ClientLeft when the client leaves first.

    The request's body must have been read. `work` has run its own clean-up when this returns, however it returns.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = watching.done()
        watching.cancel()
        working.cancel()
        await asyncio.wait((working, watching))
    if not working.cancelled():
        working.result()
    elif left:
        raise ClientLeft
    else:
        raise EngineFailed("The request was given up before it was answered.")


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
