"""Clients that people use, unchanged but for the base URL, against our server.

Each but the openai package has an environment of its own with pinned versions, built in the cache when
`LOCALROUTER_CLIENTS=1` is set: together they want versions that exclude one another.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import pytest
from likelihoods import EXACT, TOLERANCE, computed, continuations
from npm_packages import OPENAI, install_npm_packages
from running_server import RunningServer, serving

import localrouter
from localrouter.bench.scratch import cache_home

SCRIPTS = Path(__file__).parent / "clients"
WANTED = "LOCALROUTER_CLIENTS"
STEPS = ("plain", "stream", "tools", "structured")
PATIENCE = 120


@dataclass(frozen=True)
class Client:
    """A program in SCRIPTS, the packages that it needs, and the steps that it has."""

    script: str
    packages: tuple[str, ...] = ()
    steps: tuple[str, ...] = STEPS

    @property
    def folder(self) -> Path:
        """Where its packages are: another folder for other versions."""
        key = blake2b(" ".join((*self.packages, sys.version)).encode(), digest_size=6).hexdigest()
        return cache_home() / "clients" / f"{Path(self.script).stem}-{key}"


LM_EVAL = Client("lm_eval_client.py", ("lm_eval[api]==0.4.13",))
"""An evaluation harness, which is asked for numbers; its packages take 1 GB."""
CLIENTS = (
    Client("openai_client.py"),
    Client("langchain_client.py", ("langchain-openai==1.7.3",)),
    Client("litellm_client.py", ("litellm[mcp]==1.106.2",)),
    Client("pydantic_ai_client.py", ("pydantic-ai-slim[openai]==2.68.0",)),
    Client("instructor_client.py", ("instructor==1.17.0",), ("stream", "tools", "structured")),
    Client("npm_openai_client.mjs", (OPENAI,)),
)


def command(client: Client) -> list[str | Path]:
    """Return what runs this client, whose packages are installed if need be; or skip the test."""
    if not client.packages:
        return [sys.executable, SCRIPTS / client.script]
    if os.environ.get(WANTED) != "1":
        pytest.skip(f"its packages are not among ours: set {WANTED}=1 to have them installed")
    is_npm = client.script.endswith(".mjs")
    if is_npm and not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no node, or no npm")
    install = install_with_npm if is_npm else install_with_pip
    if not (client.folder / "done").exists():
        client.folder.parent.mkdir(parents=True, exist_ok=True)
        install(client)
        (client.folder / "done").touch()
    if is_npm:  # a module finds packages beside itself
        return ["node", shutil.copy(SCRIPTS / client.script, client.folder)]
    return [client.folder / "bin" / "python", SCRIPTS / client.script]


def install_with_pip(client: Client) -> None:
    venv.create(client.folder, clear=True, with_pip=True)
    pip: list[str | Path] = [
        client.folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, *client.packages], check=True)


def install_with_npm(client: Client) -> None:
    install_npm_packages(client.folder, client.packages)


def cases() -> list[object]:
    """Every step of every client."""
    return [
        pytest.param(client, step, id=f"{Path(client.script).stem}-{step}")
        for client in CLIENTS
        for step in client.steps
    ]


@pytest.mark.parametrize(("client", "step"), cases())
def test_a_client_works_unchanged(client: Client, step: str, server: RunningServer) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}

    done = subprocess.run(
        [*command(client), server.base_url, step],
        env=environment | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # or litellm asks a host of its own for prices
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert (done.returncode, done.stdout) == (0, f"{step}: done\n"), done.stderr[-2000:]


def test_an_evaluation_harness_finds_the_log_likelihoods_that_llama_cpp_computes() -> None:
    program = command(LM_EVAL)
    with serving(*EXACT) as server:  # `demo` alone, because the harness asks for the tokenizer of the only model
        done = subprocess.run(
            [*program, server.base_url, "demo"], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        documents = continuations(server, "demo")

    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line)["loglikelihood"] for line in done.stdout.splitlines()]
    demo = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
    for value, expected in zip(found, computed(demo, documents), strict=True):
        assert abs(value - sum(expected)) <= TOLERANCE * len(expected)
