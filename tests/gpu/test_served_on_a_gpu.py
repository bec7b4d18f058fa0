"""Models of each kind of memory behind the server with all layers on a GPU: the contract, and several at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_server import RunningServer, serving
from tiny_models import KINDS, write

from localrouter.conformance.check import CheckOutcome
from localrouter.conformance.server_under_test import ServerUnderTest
from localrouter.conformance.suite import chosen, run
from localrouter.memory.devices import is_built_for_gpu

pytestmark = pytest.mark.skipif(not is_built_for_gpu(), reason="llama.cpp is built for the CPU; make test-gpu")
PATIENCE = 240
"""Seconds for a response: a software device compiles a shader for every number of rows up to eight, on two cores."""
TOUCHED = ("sampling", "n", "logprobs", "logit_bias", "usage")
"""Groups of checks whose outputs depend on the device that holds and samples logits."""
MESSAGES = [{"role": "user", "content": "abc"}]


@contextmanager
def on_the_gpu(folder: Path, *kinds: str, **options: str) -> Iterator[RunningServer]:
    """Serve models of these kinds, and afterwards look whether each still has its first worker."""
    models = [word for kind in kinds for word in ("--model", f"{kind}={write(folder, kind)}")]
    settings = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = [*models, "--max-loaded", str(len(kinds)), "--gpu-layers", "all", "--context", "1024", *settings]
    with serving(*command, XDG_STATE_HOME=str(folder)) as server:
        yield server
        for kind in kinds:
            assert server.get(f"/v1/models/{kind}")["fallbacks"] == []
            assert server.engine(kind)["starts"] == 1, "no worker died"
            assert server.engine(kind)["offloaded_layers"] == server.engine(kind)["layers"]


def ask(server: RunningServer, model: str, **fields: Any) -> Any:
    body = {"model": model, "messages": MESSAGES, "max_tokens": 12} | fields
    answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE).raise_for_status()
    return answer.json()


@pytest.mark.parametrize("gpu_sampling", ["on", "off"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_holds(tmp_path: Path, kind: str, gpu_sampling: str) -> None:
    with (
        on_the_gpu(tmp_path, kind, gpu_sampling=gpu_sampling) as running,
        ServerUnderTest(running.base_url, "local", kind, PATIENCE) as server,
    ):
        results = [*run(server, chosen(TOUCHED if gpu_sampling == "on" else TOUCHED[:2]))]

    others = [(each.check.name, each.outcome, each.reason) for each in results if each.outcome != CheckOutcome.PASSED]
    assert [each for each in others if each[1] == CheckOutcome.FAILED] == []
    assert len(others) < len(results) / 4, "refused for a token beyond this vocabulary, or undecided"


def test_three_models_serve_at_once(tmp_path: Path) -> None:
    with on_the_gpu(tmp_path, *KINDS) as server, ThreadPoolExecutor() as pool:
        answers = [*pool.map(lambda kind: ask(server, kind, n=2), KINDS * 2)]

    assert all(answer["usage"]["completion_tokens"] > 0 for answer in answers)
    assert [len(answer["choices"]) for answer in answers] == [2] * len(answers)
