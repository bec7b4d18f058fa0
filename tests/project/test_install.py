"""The installer: which backend, which flags, which pip calls, and one sentence when it cannot go on."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.backend import Machine, Refused, choose, cmake_args, fits, missing_compiler
from scripts.cuda_toolkit import FLAGS, Toolkit, folder_of, look, release, variables
from scripts.install import last_words, pip_calls, wanted
from scripts.venv import Installed, Venv

ROOT = Path(__file__).resolve().parents[2]
NVCC = {"nvcc": "/opt/cuda/bin/nvcc"}
BARE = Machine("Linux")
GPU = Machine("Linux", nvidia_device=True, tools=NVCC)
CPU = Installed(
    python=f"{sys.version_info.major}.{sys.version_info.minor}",
    project="digest",
    llama="1.0",
    backend="cpu",
    cmake_args="",
    dev=False,
)
CUDA = replace(CPU, backend="cuda")


def goal(current: Installed | None, machine: Machine = BARE, *, dev: bool = False, **environment: str) -> Installed:
    return wanted(current, environment, machine, project="digest", llama="1.0", dev=dev)[0]


@pytest.mark.parametrize(
    ("machine", "backend"),
    [
        (BARE, "cpu"),
        (GPU, "cuda"),
        (Machine("Darwin"), "metal"),
        (Machine("Linux", nvidia_device=False, tools=NVCC), "cpu"),
        (Machine("Linux", nvidia_device=True), "cpu"),
    ],
)
def test_auto_takes_cuda_only_with_compiler_and_device(machine: Machine, backend: str) -> None:
    assert choose("auto", machine)[0] == backend


def test_auto_says_how_to_force_cuda_when_no_device_is_visible() -> None:
    assert "BACKEND=cuda" in choose("auto", Machine("Linux", tools=NVCC))[1]


@pytest.mark.parametrize(
    ("backend", "named"),
    [("cuda", "nvcc"), ("vulkan", "glslc"), ("rocm", "hipcc"), ("metal", "macOS"), ("tpu", "auto")],
)
def test_a_backend_that_cannot_be_built_is_refused_with_what_it_needs(backend: str, named: str) -> None:
    with pytest.raises(Refused, match=named):
        choose(backend, BARE)


@pytest.mark.parametrize(("backend", "switch"), [("cuda", "GGML_CUDA"), ("rocm", "GGML_HIP"), ("cpu", "")])
def test_exactly_the_chosen_backend_is_switched_on(backend: str, switch: str) -> None:
    flags = cmake_args(backend, GPU).split()
    on = {flag for flag in flags if flag.endswith("=ON")}
    assert on == {"-DGGML_NATIVE=ON"} | ({f"-D{switch}=ON"} if switch else set())
    assert "-DGGML_VULKAN=OFF" in flags


def test_the_users_cmake_arguments_come_last() -> None:
    assert cmake_args("cpu", BARE, "-DGGML_NATIVE=OFF").endswith(" -DGGML_NATIVE=OFF")


def test_cuda_for_another_machine_is_not_native() -> None:
    assert "-DGGML_NATIVE=OFF" in cmake_args("cuda", Machine("Linux", tools=NVCC))


def test_a_second_run_wants_nothing_new() -> None:
    assert goal(CPU) == CPU


def test_the_backend_stays_until_another_is_asked_for() -> None:
    assert goal(CUDA).backend == "cuda"
    assert goal(CUDA, BACKEND="cpu").backend == "cpu"
    assert goal(CPU, GPU, BACKEND="auto").backend == "cuda"


def test_cmake_arguments_stay_until_backend_or_arguments_are_given() -> None:
    tuned = replace(CPU, cmake_args="-DGGML_BLAS=ON")
    assert goal(CPU, CMAKE_ARGS="-DGGML_BLAS=ON") == tuned
    assert goal(tuned) == tuned
    assert goal(tuned, BACKEND="cpu") == CPU


def test_serving_after_testing_keeps_the_development_packages() -> None:
    assert goal(replace(CPU, dev=True)).dev
    assert not goal(replace(CPU, dev=True, python="3.1")).dev


def test_llama_comes_first_and_all_the_rest_with_the_project() -> None:
    llama, rest = pip_calls(CPU, None)
    assert llama[-1] == "llama-cpp-python"
    assert rest[-2:] == ["--editable", "."]


@pytest.mark.parametrize(("to", "back"), [(CUDA, CPU), (CPU, CUDA), (CPU, None)])
def test_llama_is_compiled_here_and_for_this_backend_whatever_pip_has_in_its_cache(
    to: Installed, back: Installed | None
) -> None:
    llama, _ = pip_calls(to, back)
    assert {"--no-cache-dir", "--no-binary", "--force-reinstall", "--no-deps"} <= set(llama)


def test_new_flags_of_ours_compile_llama_again() -> None:
    assert len(pip_calls(replace(CPU, llama=f"{CPU.llama} changed"), CPU)) == 2


def test_llama_is_not_compiled_again_for_other_changes() -> None:
    calls = pip_calls(replace(CUDA, project="other", dev=True), CUDA)
    assert [call[-1] for call in calls] == [".[dev]"]


def test_every_pip_call_is_constrained() -> None:
    assert all(call[call.index("-c") + 1] == "constraints.txt" for call in pip_calls(CUDA, None))


@pytest.mark.parametrize(
    ("backend", "system", "libraries", "right"),
    [
        ("cpu", "Linux", ["libggml-cpu.so", "libllama.so"], True),
        ("cpu", "Linux", ["libggml-cpu.so", "libggml-cuda.so"], False),
        ("cuda", "Linux", ["libggml-cpu.so", "libggml-cuda.so"], True),
        ("cuda", "Linux", ["libggml-cpu.so"], False),
        ("metal", "Darwin", ["libggml-metal.dylib"], True),
        ("cpu", "Darwin", ["libggml-metal.dylib"], True),
    ],
)
def test_a_wheel_of_another_backend_is_noticed(backend: str, system: str, libraries: list[str], right: bool) -> None:
    assert fits(backend, system, libraries) is right


def test_a_lone_c_compiler_is_not_enough() -> None:
    sentence = missing_compiler("Linux", {}, {"gcc": "/usr/bin/gcc"}.get)
    assert sentence is not None
    assert "no C++ compiler" in sentence
    assert "build-essential" in sentence


def test_named_compilers_count() -> None:
    named = {"CC": "gcc-13", "CXX": "g++-13 -std=c++20"}
    assert missing_compiler("Linux", named, {"gcc-13": "/bin/gcc-13", "g++-13": "/bin/g++-13"}.get) is None


def test_the_end_of_a_log_is_its_first_error() -> None:
    log = ["[1/83] fine\n", "a.cpp:1:2: error: no such type\n", "  note: here\n", *["[2/83] more\n"] * 20]
    assert last_words(log)[:2] == ["a.cpp:1:2: error: no such type", "  note: here"]
    assert len(last_words(log)) == 8


def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", {"venv": "found"}.get)
    with pytest.raises(Refused, match="apt install python3-venv"):
        Venv(tmp_path / ".venv").create("3.11")


def test_a_finished_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    for file in (python, python.with_name("pip")):
        file.touch()
    (tmp_path / "pyvenv.cfg").write_text("version = 3.11.7\n", encoding="utf-8")
    monkeypatch.setattr("subprocess.run", pytest.fail)
    Venv(tmp_path).create("3.11")


def test_without_compiler_one_sentence_and_a_failure(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt", "scripts"):
        source, target = ROOT / name, tmp_path / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    run = subprocess.run(
        [sys.executable, "-m", "scripts.install"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.strip().count("\n") == 0
    assert "no C/C++ compiler" in run.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("files", "toolkit"),
    [
        ([], Toolkit("13.0", cublas=False, driver=False)),
        (["cuda/targets/x/lib/libcublas.so"], Toolkit("13.0", cublas=False, driver=False)),
        (["cuda/lib64/libcublas.so", "cuda/include/cublas_v2.h"], Toolkit("13.0", cublas=True, driver=False)),
        (["usr/lib/x/libcublas.so", "usr/include/cublas_v2.h"], Toolkit("13.0", cublas=True, driver=False)),
        (["cuda/targets/x/lib/stubs/libcuda.so"], Toolkit("13.0", cublas=False, driver=True)),
        (["usr/lib/x/libcuda.so"], Toolkit("13.0", cublas=False, driver=True)),
    ],
)
def test_cublas_counts_with_header_and_the_driver_with_or_without_its_stub(
    tmp_path: Path, files: list[str], toolkit: Toolkit
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert look("13.0", tmp_path / "cuda", tmp_path) == toolkit


def test_a_whole_cuda_toolkit_needs_only_the_flags_of_the_check() -> None:
    found = variables(Toolkit("12.8", cublas=True, driver=True), Path("/pip"), {"CMAKE_ARGS": "-DMINE=1"})
    assert found == {"BACKEND": "cuda", "CMAKE_ARGS": f"{FLAGS} -DMINE=1"}


def test_a_lone_nvcc_compiles_with_pips_cublas_and_without_virtual_memory() -> None:
    found = variables(Toolkit("13.0", cublas=False, driver=False), Path("/pip"), {"LD_LIBRARY_PATH": "/mine"})
    assert "-DCUDA_cublasLt_LIBRARY=/pip/nvidia/cu13/lib/libcublasLt.so.13" in found["CMAKE_ARGS"]
    assert "-DGGML_CUDA_NO_VMM=ON" in found["CMAKE_ARGS"]
    assert found["CPATH"] == found["CPLUS_INCLUDE_PATH"] == "/pip/nvidia/cu13/include"
    assert found["LD_LIBRARY_PATH"] == "/pip/nvidia/cu13/lib:/mine"


def test_a_release_of_cuda_without_a_known_cublas_is_refused() -> None:
    with pytest.raises(Refused, match=r"CUDA 12\.1 lacks cuBLAS"):
        variables(Toolkit("12.1", cublas=False, driver=True), Path("/pip"), {})


def test_nvcc_tells_its_release_and_its_folder_even_when_it_is_a_script() -> None:
    assert release("Cuda compilation tools, release 13.0, V13.0.88") == "13.0"
    assert folder_of("#$ _HERE_=/opt/cuda/bin\n#$ TOP=/opt/cuda/bin/..\n") == Path("/opt/cuda")
    assert folder_of("nvcc fatal") is None
