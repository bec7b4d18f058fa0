"""Web pages in a real Chromium against a server without an API key. `make browser` runs this."""

import os
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from npm_packages import OPENAI, install_npm_packages
from running_server import RunningServer, serving
from web_pages import EMPTY, web_pages

from localrouter.bench.scratch import cache_home
from scripts.chromium import find

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WANTED = "LOCALROUTER_BROWSER"
pytestmark = pytest.mark.skipif(
    os.environ.get(WANTED) != "1", reason="playwright and Chromium are not among our packages: make browser"
)
ATTEMPTS = (Path(__file__).parent / "attempts.js").read_text(encoding="utf-8")
EVIL = "evil.example"
ECHO = ("--model", "echo=builtin:echo")
PATIENCE = 10
USE_CLIENT = """async ([baseURL, apiKey]) => {
  const client = new OpenAI({ baseURL, apiKey, dangerouslyAllowBrowser: true, maxRetries: 0 });
  const asked = { model: "echo", messages: [{ role: "user", content: "Hello from a page" }], user: "someone" };
  const { data, response } = await client.chat.completions.create(asked).withResponse();
  let streamed = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    streamed += chunk.choices[0]?.delta?.content ?? "";
  }
  const error = await client.chat.completions.create({ ...asked, model: "nowhere" }).catch((error) => error);
  return {
    plain: data.choices[0].message.content,
    streamed,
    ignored: response.headers.get("x-localrouter-ignored"),
    request: response.headers.get("x-request-id"),
    error: [error.status, error.code],
  };
}"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, for which evil.example is this machine.

    Its own checks of pages that reach for this machine are switched off: other browsers lack them.
    """
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - installed by `make browser` alone

    rule = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"
    arguments = [rule, "--disable-features=LocalNetworkAccessChecks", "--disable-dev-shm-usage"]
    if os.getuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def web_port() -> Iterator[int]:
    """The port of a web server with pages and the OpenAI JS client."""
    folder = cache_home() / "clients" / f"browser-{blake2b(OPENAI.encode(), digest_size=6).hexdigest()}"
    if not (folder / "done").exists():
        install_npm_packages(folder, [OPENAI])
        (folder / "done").touch()
    with web_pages(folder) as port:
        yield port


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server without an API key, whose model no test of this file may reach."""
    with serving(*ECHO) as server:
        yield server


def port_of(server: RunningServer) -> int:
    return httpx.URL(server.base_url).port or 80


def requests_since(server: RunningServer, begin: int) -> list[str]:
    """Return the lines of the access log from line `begin` on, once all requests until now have theirs."""
    marker = f"/marker-{time.monotonic_ns()}"
    httpx.get(server.base_url.removesuffix("/v1") + marker)
    deadline = time.monotonic() + PATIENCE
    while not any(marker in line for line in server.log[begin:]):
        assert time.monotonic() < deadline, "the marker is not in the log"
        time.sleep(0.01)
    return [line for line in server.log[begin:] if "localrouter.access" in line and marker not in line]


def attempt(page: "Page", url: str, base: str) -> dict[str, str]:
    """Open a page, let it try everything against the server at `base`, and return the texts that it read."""
    page.goto(url)
    texts: dict[str, str | None] = page.evaluate(ATTEMPTS, base)
    assert len(texts) == 16
    return {name: text for name, text in texts.items() if text is not None}


@pytest.mark.parametrize(
    ("page_host", "server_host"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("127.0.0.1", "localhost"), ("localhost", "localhost")],
)
def test_a_page_of_another_origin_reads_nothing_and_reaches_no_model(
    page: "Page", server: RunningServer, web_port: int, page_host: str, server_host: str
) -> None:
    begin = len(server.log)
    read = attempt(page, f"http://{page_host}:{web_port}/", f"http://{server_host}:{port_of(server)}")
    assert read == {}
    lines = requests_since(server, begin)
    assert len(lines) >= 10
    assert [line for line in lines if " 403 " not in line] == []
    assert server.get("/health/ready")["models"] == []


def test_a_page_of_another_site_reads_nothing_and_reaches_no_model(
    page: "Page", server: RunningServer, web_port: int
) -> None:
    begin = len(server.log)
    assert attempt(page, f"http://{EVIL}:{web_port}/", f"http://127.0.0.1:{port_of(server)}") == {}
    lines = requests_since(server, begin)
    assert len(lines) >= 10
    assert [line for line in lines if " 403 " not in line] == []
    assert server.get("/health/ready")["models"] == []


def rebound(page: "Page", server: RunningServer) -> dict[str, str]:
    """Return the texts that a page reads whose name and port were another server's before they became this server's."""
    url = f"http://{EVIL}:{port_of(server)}"
    page.route(f"{url}/page", lambda route: route.fulfill(body=EMPTY, content_type="text/html"))
    return attempt(page, f"{url}/page", url)


def test_a_page_whose_name_is_rebound_reads_errors_alone(page: "Page", server: RunningServer) -> None:
    begin = len(server.log)
    read = rebound(page, server)
    assert {name for name, text in read.items() if "host_not_allowed" not in text} == set()
    lines = requests_since(server, begin)
    assert len(lines) >= 10
    assert [line for line in lines if "error=host_not_allowed" not in line] == []
    assert server.get("/health/ready")["models"] == []


def test_the_same_pages_succeed_where_they_are_allowed(page: "Page", web_port: int) -> None:
    with serving(*ECHO, "--allow-host", EVIL, "--allow-origin", f"http://localhost:{web_port}") as server:
        read = rebound(page, server)
        assert "secret" in read["post_json"]
        assert '"echo"' in read["get"]
        read = attempt(page, f"http://localhost:{web_port}/", f"http://127.0.0.1:{port_of(server)}")
        assert "secret" in read["post_json"]
        assert "unsupported_media_type" in read["post_text"]


def test_a_link_to_the_server_opens(page: "Page", server: RunningServer, web_port: int) -> None:
    page.goto(f"http://localhost:{web_port}/")
    page.evaluate(
        "url => document.body.appendChild(Object.assign(document.createElement('a'), {href: url, innerText: 'link'}))",
        f"http://127.0.0.1:{port_of(server)}/v1/models",
    )
    page.click("a")
    page.wait_for_url("**/v1/models")
    assert '"object":"list"' in page.inner_text("body")


@pytest.mark.parametrize("key", [None, "k"])
def test_the_openai_js_client_works_in_a_page_of_an_allowed_origin(
    page: "Page", web_port: int, key: str | None
) -> None:
    origin = f"http://localhost:{web_port}"
    locked = ("--api-key", key) if key else ()
    with serving(*ECHO, *locked, "--allow-origin", origin) as server:
        page.goto(f"{origin}/client")
        page.wait_for_function("() => window.OpenAI !== undefined")
        result: dict[str, Any] = page.evaluate(USE_CLIENT, [server.base_url, key or "local"])
    assert result.pop("request").startswith("req_")
    assert result == {
        "plain": "Hello from a page",
        "streamed": "Hello from a page",
        "ignored": "user",
        "error": [404, "model_not_found"],
    }


def test_the_openai_js_client_fails_in_a_page_of_another_origin(
    page: "Page", server: RunningServer, web_port: int
) -> None:
    page.goto(f"http://127.0.0.1:{web_port}/client")
    page.wait_for_function("() => window.OpenAI !== undefined")
    failed = page.evaluate(f"given => ({USE_CLIENT})(given).catch(String)", [server.base_url, "local"])
    assert "Connection error" in failed
