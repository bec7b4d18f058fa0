"""One file takes localrouter and two models to a machine that has Python and no network at all.

It compiles llama.cpp the first time and installs everything, so it runs only when asked for: `make test-air-gap`. What
the sending side has lies under empty folders for the receiving side: this checkout with its environment, caches of pip
and models, settings. What is missing in the bundle is missing there.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gguf_bytes import SAMPLE
from island import Island, needs_namespaces
from offline_commands import OFFLINE

from localrouter.bench.synthetic.model_shapes import SyntheticShape
from localrouter.bench.synthetic.model_writer import write_model
from localrouter.bench.synthetic.synthetic_vocabulary import made_up

ROOT = Path(__file__).resolve().parents[2]
WORDS = made_up(2000)
SHAPE = SyntheticShape(
    "qwen3", layers=1, width=64, heads=2, kv_heads=1, head=32, feed_forward=64, context=512, vocabulary=WORDS.size
)
MANIFEST = """version = 1
[[models.demo.builds]]
name = "localrouter-demo-Q8_0"
asset = "demo.gguf"
[[models.noise.builds]]
name = "Noise-Q8_0"
path = "Noise-Q8_0.gguf"
"""
PYTHON = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
VENV = Path("localrouter")
PIP = [str(VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install"]
FROM_WHEELS = ["--no-index", "--find-links", "wheels", "--require-hashes", "-r", "wheels/requirements.txt"]
LOCALROUTER = str(VENV / "bin/localrouter")
WHERE = (
    "import json, llama_cpp, localrouter, sys; print(json.dumps([llama_cpp.__file__, localrouter.__file__, sys.path]))"
)

pytestmark = [
    pytest.mark.skipif("LOCALROUTER_AIR_GAP" not in os.environ, reason="compiles llama.cpp; run `make test-air-gap`"),
    needs_namespaces,
]


def send(folder: Path, out: Path) -> None:
    """Write the bundle on this machine, and take away what it was made of."""
    folder.mkdir()
    write_model(folder / "Noise-Q8_0.gguf", "noise", SHAPE, WORDS, seed=3)
    (folder / "m.toml").write_text(MANIFEST)
    create = ["bundle", "create", str(out), "demo", "noise", "--with-wheels", "--manifest", str(folder / "m.toml")]
    subprocess.run([sys.executable, "-m", "localrouter", *create], cwd=ROOT, check=True)
    shutil.rmtree(folder)


def succeed(island: Island, *command: str | Path) -> str:
    """Run a command and return all that it says."""
    done = island.run(*command)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def hidden_folders() -> tuple[Path, ...]:
    """What this user has and a new machine has not; a Python that lies in one of them stays."""
    home = Path.home()
    folders = [ROOT, home / ".cache", home / ".config", home / ".local"]
    return tuple(folder for folder in folders if not PYTHON.resolve().is_relative_to(folder))


@pytest.fixture(scope="module")
def island(tmp_path_factory: pytest.TempPathFactory) -> Island:
    """A machine on which everything was installed from one bundle, as docs/bundle.md says, and the models imported."""
    folder = tmp_path_factory.mktemp("air-gap")
    island = Island(folder / "receiver")
    send(folder / "sender", island.home / "house.tar")
    island.hidden = hidden_folders()
    island.environment["PIP_CONFIG_FILE"] = os.devnull  # nor the settings of all users
    succeed(island, "tar", "-xf", "house.tar", "wheels")
    succeed(island, PYTHON, "-m", "venv", VENV)
    said = succeed(island, *PIP, *FROM_WHEELS)
    assert "Looking in links: wheels\n" in said, said
    island.python = island.home / VENV / "bin" / "python"
    shutil.copy(island.watch / "sitecustomize.py", packages(island))
    assert "whole" in succeed(island, LOCALROUTER, "bundle", "verify", "house.tar")
    assert "Noise-Q8_0: written" in succeed(island, LOCALROUTER, "bundle", "import", "house.tar")
    return island


def packages(island: Island) -> Path:
    """Where the receiving side installed to."""
    [folder] = (island.home / VENV).glob("lib/python3*/site-packages")
    return folder


def test_it_runs_from_what_was_carried_alone(island: Island) -> None:
    *modules, path = json.loads(succeed(island, island.python, "-c", WHERE))
    assert all(Path(module).is_relative_to(packages(island)) for module in modules)
    assert not [each for each in path if Path(each).is_relative_to(ROOT)]
    assert succeed(island, "ls", "-A", ROOT) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one variant")
def test_its_llama_carries_kernels_for_old_and_new_cpus(island: Island) -> None:
    assert len([*packages(island).glob("llama_cpp/lib/libggml-cpu-*.so")]) > 1


def test_both_models_are_good(island: Island) -> None:
    said = succeed(island, LOCALROUTER, "verify")
    assert "good  localrouter-demo-Q8_0" in said
    assert "good  Noise-Q8_0" in said


def test_it_serves_and_both_models_answer(island: Island) -> None:
    serve = [LOCALROUTER, "serve", "--offline", "--port", "0", "--threads", "1"]
    answers = island.ask(serve, "demo", "noise")
    (demo, said), (noise, other) = answers["demo"], answers["noise"]
    assert (demo, noise) == (200, 200)
    assert said["choices"][0]["message"]["content"] == "The capital of Italy is Rome."
    assert other["model"] == "Noise-Q8_0"
    assert other["usage"]["completion_tokens"] > 0
    assert island.tried == ""
    assert "localrouter.engine.ipc.worker" in island.watched


def test_offline_every_command_works_or_says_what_it_lacks(island: Island) -> None:
    (island.home / "mine.gguf").write_bytes(SAMPLE)
    for use in OFFLINE:
        done = island.run(LOCALROUTER, *use.line, **use.environment)
        said = done.stdout + done.stderr
        assert (done.returncode, [words for words in use.says if words not in said]) == (use.status, []), (use, said)
        assert "Traceback" not in said
    assert island.tried == ""
