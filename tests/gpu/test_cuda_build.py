"""A build for CUDA is one, also where no NVIDIA device is to run it. `make check-cuda` makes it."""

import shutil
import subprocess
from pathlib import Path

import pytest

import localrouter
from localrouter.engine.backends.base import LoadError
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.load_options import LoadOptions
from localrouter.memory import devices

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
FOLDER = devices.library_folder() or Path()
LIBRARY = FOLDER / "libggml-cuda.so"

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="llama.cpp is not built for CUDA; make check-cuda")
without_a_device = pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="an NVIDIA device is here")


def printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_library_links_with_cuda() -> None:
    assert "libcudart" in printed("ldd", str(LIBRARY))
    assert "not found" not in printed("ldd", str(LIBRARY))


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_the_library_has_the_backend_of_cuda() -> None:
    assert " T ggml_backend_cuda_reg" in printed("nm", "-D", "--defined-only", str(LIBRARY))


@without_a_device
def test_without_a_device_no_gpu_is_listed_and_models_run_on_the_cpu() -> None:
    assert devices.used_by_default(devices.ask()) == ()
    backend = LlamaBackend(DEMO, LoadOptions(threads=1, cells=512))
    backend.close()
    assert backend.info.device.name == "CPU"


@without_a_device
def test_a_gpu_that_is_required_is_refused_without_a_device() -> None:
    with pytest.raises(LoadError, match="none was found"):
        LlamaBackend(DEMO, LoadOptions(require_gpu=True))
