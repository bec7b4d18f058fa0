"""What most tests of the API need: a fake router, and a client of an application with it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar
from serving_fakes import FakeRouter, client_of, make_app, make_service


@pytest.fixture
def router() -> FakeRouter:
    return FakeRouter()


@pytest.fixture(scope="session")
def default_app() -> Litestar:
    """An application with default settings, made once: registering its routes takes longer than most tests."""
    return make_app(FakeRouter())


@pytest.fixture
async def client(router: FakeRouter, default_app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    default_app.state["service"] = make_service(router)
    async with client_of(default_app) as client:
        yield client
