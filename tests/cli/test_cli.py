"""The command line: what it starts, what it refuses in which words, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import get_args

import psutil
import pytest
from click.testing import CliRunner, Result
from openai import Stream
from openai.types.chat import ChatCompletionChunk
from running_server import RunningServer, serving

from localrouter import __version__
from localrouter.api.server import base_url, bind
from localrouter.cli import COMMANDS, main
from localrouter.cli.serve import announce, read_settings, serve
from localrouter.config import EngineSettings, Settings
from localrouter.errors import ConfigError, OperatorError
from localrouter.load_options import KvType
from localrouter.memory.fit import FitChoice
from localrouter.memory.plan import KV_TYPES
from localrouter.weights.catalog import BuildState, BuildStatus, CatalogEntry
from localrouter.weights.manifest.manifest import Overrides


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOCALROUTER_")]:
        monkeypatch.delenv(name)


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output) == (0, f"localrouter, version {__version__}\n")


def test_the_version_does_not_wait_for_a_web_server() -> None:
    code = (
        "import sys; from localrouter.cli import main; main(['--version'], standalone_mode=False); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"litestar", "uvicorn", "pydantic", "huggingface_hub", "numpy"} & set(loaded)


def test_without_a_command_the_help_page_is_shown() -> None:
    for _ in range(2):  # importing cli/list.py must not change what the second call finds
        result = CliRunner().invoke(main, [])
        assert "serve" in result.output
        assert "List the models" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_page(name: str) -> None:
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_every_setting_is_an_option() -> None:
    assert {option.name for option in serve.params} == {*Settings.model_fields, "models"}


@pytest.mark.parametrize("error", [OperatorError("it broke [here]", hint="mend it"), OperatorError("it broke [here]")])
def test_what_the_operator_can_mend_is_an_error_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, error: OperatorError
) -> None:
    result = _run_serve(monkeypatch, error)
    expected = "error: it broke [here]\n" + ("hint: mend it\n" if error.hint else "")
    assert (result.exit_code, result.stderr, result.stdout) == (2, expected, "")


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run_serve(monkeypatch, KeyboardInterrupt()).exit_code == 130


def _run_serve(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Result:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(serve, "callback", fail)
    return CliRunner().invoke(main, ["serve"])


def test_an_option_goes_before_the_environment_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALROUTER_PORT", "8001")
    monkeypatch.setenv("LOCALROUTER_GRACE", "3")
    settings = read_settings({"port": "8002", "grace": None})
    assert (settings.port, settings.grace, settings.max_queue) == (8002, 3.0, 256)


@pytest.mark.parametrize("seconds", ["0", "0.5", "86400"])
def test_pings_may_be_far_apart_or_switched_off(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setenv("LOCALROUTER_SSE_PING_SECONDS", seconds)
    assert read_settings({}).sse_ping_seconds == float(seconds)


def test_a_quantized_cache_without_flash_attention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALROUTER_FLASH_ATTENTION", "off")
    assert read_settings({"kv_type": "f16"}).flash_attention == "off"
    with pytest.raises(ConfigError, match="--kv-type q8_0 needs flash attention, and --flash-attention is off"):
        read_settings({"kv_type": "q8_0"})


def test_memory_planning_knows_every_type_of_the_kv_cache() -> None:
    assert get_args(KvType) == tuple(KV_TYPES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("gpu_layers", "some"),
        ("context", "lots"),
        ("log_level", "loud"),
        ("kv_type", "f32"),
        ("swa_full", "maybe"),
        ("ubatch", "1"),
        ("device", ""),
        ("tensor_split", "3;1"),
        ("tensor_split", "-1,2"),
        ("tensor_split", "0,0"),
        ("cache_ram", "-1"),
        ("grace", "-1"),
        ("sse_ping_seconds", "-1"),
        ("sse_ping_seconds", "0.001"),
        ("sse_ping_seconds", "nan"),
        ("sse_ping_seconds", "1e300"),
        ("sse_ping_seconds", "soon"),
        ("api_key", ""),
        ("allow_host", "http://box"),
        ("allow_origin", "box"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LOCALROUTER_{name.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        read_settings({})
    assert f"--{name.replace('_', '-')}" in caught.value.message
    assert f"LOCALROUTER_{name.upper()}" in str(caught.value.hint)


@pytest.mark.parametrize(("written", "shares"), [("3,1", (3, 1)), (" 0.5, 0 ,2", (0.5, 0, 2)), ("3", (3,))])
def test_shares_of_gpus_are_written_with_commas_on_the_command_line_and_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, written: str, shares: tuple[float, ...]
) -> None:
    assert EngineSettings.model_validate({"tensor_split": written}).tensor_split == shares
    monkeypatch.setenv("LOCALROUTER_TENSOR_SPLIT", written)
    assert EngineSettings().tensor_split == shares


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("0,0", "at least one share must be above 0, but it is '0,0'"),
        ("-1,2", "input should be greater than or equal to 0, but it is '-1'"),
        ("3;1", "input should be a valid number, unable to parse string as a number, but it is '3;1'"),
        ("inf,1", "input should be a finite number, but it is 'inf'"),
    ],
)
def test_shares_that_cannot_be_used_are_refused_in_words(written: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({"tensor_split": written})
    assert caught.value.message == f"--tensor-split: {said}"


def test_host_names_are_repeated_on_the_command_line_and_have_commas_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCALROUTER_ALLOW_HOST", "One, two.example.")
    assert read_settings({"allow_host": ()}).allow_host == ("one", "two.example")
    assert read_settings({"allow_host": ("three", "four,five")}).allow_host == ("three", "four", "five")
    monkeypatch.setenv("LOCALROUTER_ALLOW_HOST", "")
    assert read_settings({}).allow_host == ()


@pytest.mark.parametrize(
    "name", ["box:8000", "a b", "*", "*.example", "bücher.example", "[::1]", ".", "a..b", "one,,two"]
)
def test_what_no_host_header_has_as_its_name_is_no_allowed_host(name: str) -> None:
    with pytest.raises(ConfigError, match="--allow-host: must be a host name without scheme and port"):
        read_settings({"allow_host": (name,)})


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("*", "*"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("app://obsidian.md", "app://obsidian.md"),
    ],
)
def test_origins_are_as_browsers_send_them(written: str, sent: str) -> None:
    assert read_settings({"allow_origin": (written,)}).allow_origin == (sent,)


@pytest.mark.parametrize(
    "origin",
    [
        "localhost:3000",
        "//localhost",
        "http://localhost:3000/",
        "http://localhost/page",
        "http://user@localhost",
        "http://localhost?a",
        "http://local host",
        "http://*.example",
        "http://",
        "http://localhost:x",
        "http://bücher.example",
        "null",
        "",
        "http://a\nb",
    ],
)
def test_what_no_browser_sends_is_no_allowed_origin(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"--allow-origin: must be \* or an origin such as"):
        read_settings({"allow_origin": (f"http://a,{origin}",)})


def test_other_machines_are_let_in_only_with_a_key() -> None:
    with pytest.raises(ConfigError, match="no API key"):
        read_settings({"host": "0.0.0.0"})
    assert read_settings({"host": "0.0.0.0", "api_key": "k"}).host == "0.0.0.0"


def test_the_line_to_try_shows_where_the_key_goes(capsys: pytest.CaptureFixture[str]) -> None:
    announce(
        "http://127.0.0.1:1/v1",
        [_entry("echo", BuildState.ON_DISK), _entry("far", BuildState.NOT_DOWNLOADED)],
        locked=True,
    )
    told = capsys.readouterr().err
    assert 'Bearer $LOCALROUTER_API_KEY"' in told
    assert "far" not in told


def test_without_a_model_it_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    announce("http://127.0.0.1:1/v1", [_entry("far", BuildState.NOT_DOWNLOADED)], locked=False)
    assert "localrouter list" in capsys.readouterr().err


def _entry(alias: str, state: BuildState) -> CatalogEntry:
    choice = FitChoice(0, "the only one") if state is BuildState.ON_DISK else None
    return CatalogEntry(alias, "", Overrides(), (BuildStatus(f"{alias}-Q4", None, "hub", state, None, None),), choice)


def test_a_port_in_use_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_said_in_words(host: str) -> None:
    with pytest.raises(ConfigError, match=host):
        bind(host, 0)


def test_the_base_url_is_one_that_a_client_can_use() -> None:
    with bind("0.0.0.0", 0) as listener:
        assert base_url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.mark.parametrize(
    "entry", ["echo", "echo=", "=x.gguf", "echo=nowhere.gguf", "echo=builtin:nothing", "Ä=builtin:echo"]
)
def test_a_model_that_cannot_be_served_is_refused_before_the_port_is_taken(entry: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--model", entry])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --model")


def test_a_gpu_that_is_not_there_is_refused_before_the_port_is_taken() -> None:
    result = CliRunner().invoke(main, ["serve", "--device", "Nothing7"])
    assert result.exit_code == 2
    assert "device 'Nothing7' is not on this machine" in result.stderr
    assert "localrouter devices" in result.stderr


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["serve", "--manifest", str(tmp_path / "none.toml")])
    assert (result.exit_code, "hint: " in result.stderr) == (2, True)


def test_serve_says_what_it_answers_for_and_stays_slim() -> None:
    with serving("--model", "echo=builtin:echo") as server:
        assert psutil.Process(server.process.pid).memory_info().rss < 110e6
        assert server.get("/v1/models/echo")["model"] == "localrouter-echo"
        assert server.stop() == 0
    assert any(line.split() == ["echo", "localrouter-echo"] for line in server.log)
    assert any(line.startswith("try: curl ") for line in server.log)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_a_stream_finish_and_leaves_no_worker(number: int, status: int) -> None:
    with serving("--model", "echo=builtin:echo?step_ms=5", "--grace", "60") as server:
        stream = _stream(server, "x" * 40)
        chunks = [next(stream), next(stream)]
        workers = server.workers()
        server.process.send_signal(number)
        chunks += stream
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert server.process.wait(60) == status
    psutil.wait_procs(workers, 10)
    assert workers
    assert not any(worker.is_running() for worker in workers)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_second_ctrl_c_does_not_wait() -> None:
    with serving("--model", "echo=builtin:echo?step_ms=5", "--grace", "600") as server:
        stream = _stream(server, "x" * 4000)
        next(stream)
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(OSError, match="refused"):
            _connect_until_refused(server.base_url)
        assert server.stop(signal.SIGINT) == 130
        stream.close()


def _stream(server: RunningServer, text: str) -> Stream[ChatCompletionChunk]:
    return server.client().chat.completions.create(
        model="echo", messages=[{"role": "user", "content": text}], stream=True
    )


def _connect_until_refused(url: str) -> None:
    address = ("127.0.0.1", int(url.split(":")[2].split("/", maxsplit=1)[0]))
    while True:
        with suppress(ConnectionResetError):  # who waits at the moment that the server closes its door
            socket.create_connection(address).close()


def test_the_curl_line_is_json_that_the_server_takes() -> None:
    with serving("--model", "echo=builtin:echo") as server:
        server.stop()
    (line,) = [line for line in server.log if line.startswith("try: ")]
    assert json.loads(line.split("-d ")[1].strip().strip("'"))["model"]
