"""What tests of all folders may ask for."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import openai
import pytest
from real_server import MODELS, path_of
from real_vocabularies import VOCABULARIES, write_small_model
from running_server import RunningServer, serving

HOME = tempfile.mkdtemp(prefix="localrouter-tests-")


def pytest_configure() -> None:
    """Keep what differs between machines and shells out of the tests, before anything reads it.

    That is a developer's own files and caches, the machine's load, and signals that are ignored: a shell starts
    `make test &` with SIGINT ignored, and every command that a test starts would inherit this.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    # An example may take longer than hypothesis' 200 ms on a busy machine, and is no worse for it.
    hypothesis.settings.register_profile("no deadline", deadline=None)
    hypothesis.settings.load_profile("no deadline")
    os.environ |= {f"XDG_{name}_HOME": f"{HOME}/{name.lower()}" for name in ("CONFIG", "DATA", "STATE")}
    os.environ["HF_HOME"] = f"{HOME}/hub"


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A server with the embedded model `demo`, and `echo` as it is and slow; for tests that do it no harm."""
    echo = ["--model", "echo=builtin:echo", "--model", "slow=builtin:echo?step_ms=5"]
    with serving(*echo, "--max-loaded", "3") as running:
        yield running


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random models with the real vocabularies; the key is the family."""
    folder = tmp_path_factory.mktemp("small-models")
    return {family: write_small_model(folder, family) for family in VOCABULARIES}


@pytest.fixture(scope="session")
def real_server() -> Iterator[RunningServer]:
    """A server with real weights, which `make test-real` downloads. One model is in memory at a time."""
    options = [word for name, weights in MODELS.items() for word in ("--model", f"{name}={path_of(weights)}")]
    with serving(*options, "--max-loaded", "1", "--context", "4096") as running:
        yield running


@pytest.fixture
def real_client(real_server: RunningServer) -> openai.OpenAI:
    """A client of the server with real weights."""
    return real_server.client(timeout=300)
