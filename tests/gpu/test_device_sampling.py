"""Probe of sampling on a GPU: it passes where logits are aligned, and fails where llama.cpp ends the process."""

import subprocess
import sys

import pytest
from tiny_models import WORDS

from localrouter.memory import devices
from localrouter.memory.devices import is_built_for_gpu, used_by_default

pytestmark = pytest.mark.skipif(not is_built_for_gpu(), reason="llama.cpp is built for the CPU; make test-gpu")


def probe(vocabulary: int) -> subprocess.CompletedProcess[str]:
    name = used_by_default(devices.ask())[0].name
    command = [sys.executable, "-m", "localrouter.engine.backends.llama.sampler_probe", name, str(vocabulary)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_vocabulary_whose_rows_are_aligned_passes() -> None:
    done = probe(WORDS)

    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    is_built_for_gpu() and not any("Vulkan" in each.name for each in devices.ask()), reason="not a Vulkan build"
)
def test_a_vocabulary_of_odd_size_ends_the_process_in_llama_cpp() -> None:
    """The rule behind `auto`: when this fails, llama.cpp has learnt to sample from rows that are not aligned."""
    done = probe(WORDS + 3)

    assert done.returncode < 0
    assert "get_misalign_bytes" in done.stderr
