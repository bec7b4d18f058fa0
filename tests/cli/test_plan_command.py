import json
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from localrouter.cli import plan as command
from localrouter.errors import ConfigError, HubUnreachable
from localrouter.memory.devices import Device, DeviceKind
from localrouter.memory.machine import Gpu, Machine, with_devices

MANIFEST = f"""
version = 1
[models.m]
[[models.m.builds]]
name = "Here"
variant = "here"
path = "here.gguf"
[[models.m.builds]]
name = "A-rather-long-name-of-a-build-UD-Q4_K_XL"
variant = "told"
repo = "them/Told"
file = "Told.gguf"
revision = "{"c" * 40}"
size = 9_000_000_000
shape = {{ full_attention_layers = 10, kv_heads = 2, head_len = 256, recurrent_layers = 30, context = 65536 }}
[[models.m.builds]]
name = "Sized"
variant = "sized"
repo = "them/Sized"
file = "Sized.gguf"
size = 99_000_000_000
[[models.m.builds]]
name = "Nothing"
variant = "nothing"
path = "nothing.gguf"
"""


def write_gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "qwen3")
    for key, value in {"block_count": 1, "embedding_length": 64, "context_length": 4096}.items():
        writer.add_uint32(f"qwen3.{key}", value)
    writer.add_uint32("qwen3.attention.head_count", 2)
    writer.add_uint32("qwen3.vocab_size", 10)
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((64, 64), np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((10, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    write_gguf(tmp_path / "here.gguf")
    monkeypatch.setattr("localrouter.cli.settings.this_machine", lambda _: Machine(16 * 10**9, 32 * 10**9))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # --offline sets it
    return tmp_path


def run(home: Path, *arguments: str, env: dict[str, str] | None = None) -> Result:
    arguments = (*arguments, "--manifest", str(home / "manifest.toml"))
    return CliRunner().invoke(command.plan, arguments, env=env, catch_exceptions=False)


def test_a_table_says_what_each_build_needs_and_where_that_is_known_from(home: Path) -> None:
    rows = [line.split() for line in run(home, "--context", "8192", "--offline").stdout.splitlines()]
    assert rows[0] == ["build", "weights", "KV", "other", "total", "fits", "longest", "facts"]
    assert [row[0] for row in rows[1:]] == ["m:here", "m:told", "m:sized", "m:nothing"]
    assert [row[-1] for row in rows[1:]] == ["file", "manifest", "size", "size"]
    assert rows[2][1:3] + rows[2][-3:] == ["9.00", "GB", "RAM", "65,536", "manifest"]
    assert rows[3][-3:] == ["no", "?", "size"]


def test_the_legend_and_the_machine_are_talk(home: Path) -> None:
    result = run(home, "--offline")
    assert "This machine: 16.0 GB of 32.0 GB RAM free, no GPU" in result.stderr
    assert "machine" not in result.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(home: Path, columns: int) -> None:
    env = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": str(columns)}
    text = run(home, "--offline", env=env).stdout.splitlines()
    assert max(map(len, text)) <= columns
    assert len(text) == 5


def plans(result: Result) -> dict[str, dict[str, object]]:
    return {build["model"]: build for build in json.loads(result.stdout)["builds"]}


def test_json_has_bytes_by_place_and_by_purpose(home: Path) -> None:
    found = plans(run(home, "m:here", "--context", "1024", "--json", "--offline"))["Here"]
    assert found["ram"] == {
        "weights": (64 + 10) * 64 * 4,
        "cache": 1024 * (64 + 64) * 2,
        "states": 0,
        "compute": found["ram"]["compute"],  # type: ignore[index]
        "logits": 96 * 10 * 4,  # of those that are computed, and of those that are kept
        "total": found["ram"]["total"],  # type: ignore[index]
    }
    assert (found["facts"], found["place"], found["longest_context"]) == ("file", "ram", 4096)


def test_conversations_at_a_time_and_the_type_of_the_cache_count(home: Path) -> None:
    one = plans(run(home, "m:told", "--context", "8192", "--json", "--offline"))
    four = plans(
        run(home, "m:told", "--context", "8192", "--parallel", "4", "--kv-type", "q8_0", "--json", "--offline")
    )
    caches = [found[next(iter(found))]["ram"]["cache"] for found in (one, four)]  # type: ignore[index]
    assert caches[1] / caches[0] == pytest.approx(4 * 34 / 64)


def test_what_no_option_says_is_taken_from_the_environment(home: Path) -> None:
    said, told = (
        run(home, "m:told", *options, "--json", "--offline", env=env)
        for options, env in ((["--kv-type", "q4_0"], {}), ([], {"LOCALROUTER_KV_TYPE": "q4_0"}))
    )
    assert plans(said) == plans(told)


def test_windows_that_sliding_layers_hold_are_marked(home: Path) -> None:
    shape = "{ sliding_layers = 10, sliding_kv_heads = 2, sliding_head_len = 256, window = 512 }"
    build = f'[[models.w.builds]]\nname = "W"\npath = "w.gguf"\nsize = 1_000_000\nshape = {shape}\n'
    (home / "manifest.toml").write_text(f"version = 1\n[models.w]\n{build}")

    whole = run(home, "w", "--context", "262144", "--offline")
    windows = run(home, "w", "--context", "262144", "--swa-full", "off", "--offline")

    assert "5.37 GB" in whole.stdout
    assert "136 MB w" in windows.stdout
    assert plans(run(home, "w", "--swa-full", "off", "--json", "--offline"))["W"]["swa_full"] is False


def test_layers_on_gpus_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = Machine(16 * 10**9, 32 * 10**9, (Gpu("RTX 2060", 6 * 10**9, 6 * 10**9),))
    monkeypatch.setattr("localrouter.cli.settings.this_machine", lambda _: on)
    result = run(home, "m:told", "--context", "8192", "--offline")
    assert "/41 GPU" in result.stdout
    assert "RTX 2060: 6.00 GB of 6.00 GB free" in result.stderr


CARDS = [Device(f"GPU{n}", "card", "CUDA", DeviceKind.GPU, size, size) for n, size in enumerate((6 * 10**9, 3 * 10**9))]


@pytest.fixture
def cards(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home on a machine with two cards, the first one with twice the memory of the second."""
    monkeypatch.setattr("localrouter.cli.settings.this_machine", lambda names: with_devices(CARDS, names))
    return home


def weights_on_gpus(home: Path, *arguments: str, env: dict[str, str] | None = None) -> dict[str, int]:
    shape = "{ full_attention_layers = 29, kv_heads = 2, head_len = 64, vocabulary = 1000 }"
    build = f'[[models.g.builds]]\nname = "G"\npath = "g.gguf"\nsize = 1_000_000_000\nshape = {shape}\n'
    (home / "manifest.toml").write_text(f"version = 1\n[models.g]\n{build}")
    (found,) = plans(run(home, "g", "--context", "4096", "--json", "--offline", *arguments, env=env)).values()
    gpus: list[dict[str, int]] = found["gpus"]  # type: ignore[assignment]
    assert sum(gpu["total"] for gpu in gpus) == found["gpu"]["total"]  # type: ignore[index]
    return {str(gpu["device"]): gpu["weights"] for gpu in gpus}


def test_gpus_share_a_model_by_free_memory_or_as_they_are_told(cards: Path) -> None:
    by_memory, told = weights_on_gpus(cards), weights_on_gpus(cards, "--tensor-split", "1,4")
    assert by_memory["GPU0"] / by_memory["GPU1"] == pytest.approx(2, rel=0.1)
    assert told["GPU1"] / told["GPU0"] == pytest.approx(4, rel=0.1)


def test_named_gpus_are_planned_for_in_that_order(cards: Path) -> None:
    assert list(weights_on_gpus(cards, "--device", "GPU1,GPU0")) == ["GPU1", "GPU0"]
    assert list(weights_on_gpus(cards, "--device", "GPU1")) == ["GPU1"]


def test_gpus_and_shares_are_taken_from_the_environment_too(cards: Path) -> None:
    options = ["--device", "GPU1,GPU0", "--tensor-split", "3,1"]
    variables = {"LOCALROUTER_DEVICE": "GPU1,GPU0", "LOCALROUTER_TENSOR_SPLIT": "3,1"}
    assert weights_on_gpus(cards, *options) == weights_on_gpus(cards, env=variables) != weights_on_gpus(cards)


def test_a_model_that_fits_nowhere_has_nothing_on_each_gpu(cards: Path) -> None:
    found = plans(run(cards, "m:sized", "--json", "--offline"))["Sized"]
    assert [gpu["total"] for gpu in found["gpus"]] == [0, 0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "GPU7"], "--device: device 'GPU7' is not on this machine; there are GPU0, GPU1"),
        (["--tensor-split", "1"], r"a share for each GPU that is used, 2 \(GPU0, GPU1\), and has 1"),
        (["--tensor-split", "3,1", "--device", "GPU1"], r"1 \(GPU1\), and has 2"),
        (["--tensor-split", "0,0"], "--tensor-split: at least one share must be above 0"),
    ],
)
def test_gpus_and_shares_that_cannot_be_used_are_refused_with_a_hint(
    cards: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        run(cards, "--offline", *arguments)
    assert caught.value.hint


class FakeHub:
    def __init__(self, content: bytes | None) -> None:
        self.content = content

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        if self.content is None:
            raise HubUnreachable("the hub cannot be reached")
        return self.content[start:stop]


def test_a_build_that_is_named_is_read_from_the_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_hub", lambda: FakeHub((home / "here.gguf").read_bytes()))
    assert [build["facts"] for build in plans(run(home, "m", "--json")).values()] == ["file", "hub", "hub", "size"]


def test_without_a_name_the_hub_is_not_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_hub", lambda: pytest.fail("it was asked"))
    run(home)
    run(home, "m", "--offline")


def test_a_hub_that_cannot_be_reached_leaves_the_manifest_s_facts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_hub", lambda: FakeHub(None))
    result = run(home, "m:told", "--json")
    assert plans(result)["A-rather-long-name-of-a-build-UD-Q4_K_XL"]["facts"] == "manifest"
    assert "m:told: the hub cannot be reached; the shape in the manifest is used" in result.stderr


def test_an_unknown_name_is_left_to_the_one_place_for_errors(home: Path) -> None:
    with pytest.raises(ConfigError, match="nix"):
        run(home, "nix")


@pytest.mark.slow
def test_a_file_of_the_command_line_is_planned_alone_or_beside_named_builds(home: Path) -> None:
    given = f"mine={home / 'here.gguf'}"

    alone, beside = (json.loads(run(home, "--model", given, "--json", *names).stdout) for names in ([], ["m:told"]))

    assert [build["facts"] for build in alone["builds"]] == ["file"]
    assert [build["model"] for build in alone["builds"]] == ["here"]
    assert len(beside["builds"]) == 2


ALIAS = ["m:here", "--json", "--offline"]


def with_settings(home: Path, *lines: str) -> None:
    (home / "manifest.toml").write_text(MANIFEST.replace("[models.m]", "\n".join(["[models.m]", *lines])))


def test_settings_of_the_alias_count_as_in_the_server(home: Path) -> None:
    with_settings(home, "context = 2048", 'kv_type = "q8_0"')
    found = plans(run(home, *ALIAS))["Here"]
    assert (found["cells"], found["kv_type"]) == (2048, "q8_0")


def test_an_option_comes_before_the_alias_and_the_alias_before_the_environment(home: Path) -> None:
    with_settings(home, "context = 2048", 'kv_type = "q8_0"')
    env = {"LOCALROUTER_KV_TYPE": "f16", "LOCALROUTER_CONTEXT": "512"}
    assert plans(run(home, *ALIAS, env=env))["Here"]["cells"] == 2048
    found = plans(run(home, *ALIAS, "--kv-type", "q4_0", "--context", "1024", env=env))["Here"]
    assert (found["cells"], found["kv_type"]) == (1024, "q4_0")
    (home / "manifest.toml").write_text(MANIFEST)
    assert plans(run(home, *ALIAS, env=env))["Here"]["cells"] == 512


def test_an_alias_is_planned_for_the_gpus_it_chooses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_settings(home, 'device = "CUDA1"')
    gpus = {None: Gpu("a", 8 * 10**9, 8 * 10**9, "CUDA0"), "CUDA1": Gpu("b", 9 * 10**9, 9 * 10**9, "CUDA1")}
    machines = {name: Machine(16 * 10**9, 32 * 10**9, (gpu,)) for name, gpu in gpus.items()}
    monkeypatch.setattr("localrouter.cli.settings.this_machine", machines.__getitem__)
    gpus_used = plans(run(home, *ALIAS))["Here"]["gpus"]
    assert isinstance(gpus_used, list)
    assert [gpu["device"] for gpu in gpus_used] == ["CUDA1"]


def test_gpus_of_an_alias_that_are_not_here_are_left_out_with_a_word(home: Path) -> None:
    with_settings(home, "tensor_split = [3, 1]", "context = 2048")
    result = run(home, *ALIAS)
    assert (plans(result)["Here"]["cells"], plans(result)["Here"]["place"]) == (2048, "ram")
    assert "m:here: the manifest chooses other GPUs: --tensor-split must have a share for each GPU" in result.stderr
