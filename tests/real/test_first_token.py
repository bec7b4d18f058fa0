"""The distribution of the first token, beside that of llama-server for the same file and the same tokens.

Both prefill the prompt cold, with the weights as they are in the file. The kernels for repacked weights round
differently for each number of rows: llama-server gives the same token 0.31 with them and 0.36 without. The programs of
llama.cpp are those that `localrouter bench --build-peer` builds.
"""

import math
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai
import pytest
from real_server import MODELS, path_of
from running_server import serving

from localrouter.bench.servers.peer import Peer, PeerMissing, built_folder, find_peer
from scripts.real_weights import Weights

pytestmark = pytest.mark.real

TOLERANCE = 0.01
"""Largest difference of a token's probability. With the same kernels 0.0002 was seen."""
PROMPTS = (
    "The capital of the Netherlands is",
    "Once upon a time, in a village by the sea, there lived",
    "def fibonacci(n):\n    if n < 2:\n        return",
)


def peer() -> Peer:
    """Return llama.cpp's programs, or skip the test where they are not built."""
    try:
        return find_peer(built_folder())
    except PeerMissing:
        pytest.skip("llama.cpp's programs are not built: `localrouter bench --build-peer` builds them")


@contextmanager
def llama_server(weights: Weights) -> Iterator[httpx.Client]:
    """Run llama-server on loopback with one model, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(peer().program("llama-server")), "-m", path_of(weights), "--host", "127.0.0.1", "--port", str(port)]
    silent = subprocess.DEVNULL
    with subprocess.Popen([*command, "-c", "4096", "-np", "1", "--no-repack"], stdout=silent, stderr=silent) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
                _wait_until_healthy(client, process)
                yield client
        finally:
            process.terminate()


def _wait_until_healthy(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    """Poll the health route, which is all that llama-server offers, until it is ready. It ends with the process."""
    while process.poll() is None:
        try:
            if client.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"llama-server ended with status {process.returncode}")


@pytest.mark.parametrize("alias", MODELS)
def test_the_first_token_is_distributed_as_at_llama_server(alias: str) -> None:
    weights = MODELS[alias]
    ours = serving("--model", f"{alias}={path_of(weights)}", "--context", "4096", "--extra-buffers", "off")
    with llama_server(weights) as theirs, ours as server:
        client = server.client(timeout=300)
        for prompt in PROMPTS:
            expected = _theirs(theirs, prompt)
            found = _ours(client, alias, prompt)
            for token, probability in found.items():
                assert probability == pytest.approx(expected.get(token, 0.0), abs=TOLERANCE), (prompt, token)
            assert sum(found.values()) > 0.2, "too little of the distribution was compared"


def _ours(client: openai.OpenAI, alias: str, prompt: str) -> dict[str, float]:
    """Return the probabilities of our five likeliest first tokens by their text."""
    completion = client.completions.create(model=alias, prompt=prompt, max_tokens=1, temperature=1, logprobs=5)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.top_logprobs
    likeliest = sorted(logprobs.top_logprobs[0].items(), key=lambda item: -item[1])[:5]
    return {token: math.exp(value) for token, value in likeliest}


def _theirs(client: httpx.Client, prompt: str) -> dict[str, float]:
    """Return the probabilities of llama-server's twenty likeliest first tokens by their text."""
    body = {"prompt": prompt, "n_predict": 1, "n_probs": 20, "temperature": 1.0, "cache_prompt": False}
    answer = client.post("/completion", json=body).raise_for_status().json()
    return {each["token"]: math.exp(each["logprob"]) for each in answer["completion_probabilities"][0]["top_logprobs"]}
