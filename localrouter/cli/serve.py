"""`localrouter serve`: reads the settings and runs the server until a signal."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import rich_click as click
from click.shell_completion import CompletionItem
from rich.console import Console

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.log_format import LogFormat
from localrouter.cli.options import named_file
from localrouter.cli.settings import machine_of, option_of, settings_of, variable_of
from localrouter.config import Settings
from localrouter.errors import ConfigError, ModelNotFound

if TYPE_CHECKING:
    from localrouter.weights.catalog import Catalog, CatalogEntry

Command = TypeVar("Command", bound=Callable[..., Any])


def _setting(name: str, meaning: str, metavar: str | None = None) -> Callable[[Command], Command]:
    """Return the option for a field of Settings; a switch without `metavar`. Settings validates the value."""
    default = Settings.model_fields[name].default
    told = "" if default is None else f", default: {str(default).lower() if metavar is None else default}"
    text = f"{meaning} [{variable_of(name)}{told}]"
    if metavar is None:
        return click.option(f"{option_of(name)}/--no-{option_of(name)[2:]}", name, default=None, help=text)
    return click.option(option_of(name), name, metavar=metavar, default=None, help=text, shell_complete=_words)


def _repeatable(name: str, meaning: str, metavar: str) -> Callable[[Command], Command]:
    """Return the repeatable option for a field of Settings that is a list."""
    text = f"{meaning} Repeatable. [{variable_of(name)}, separated by commas]"
    return click.option(option_of(name), name, metavar=metavar, multiple=True, help=text)


def _words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the value of a setting: a file, or one of its allowed words."""
    del ctx
    if param.metavar == "FILE":
        return [CompletionItem(incomplete, type="file")]
    words = _literals(Settings.model_fields[param.name or ""].annotation)
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _literals(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [*get_args(annotation)]
    return [word for part in get_args(annotation) for word in _literals(part)]


@click.command(epilog=exit_statuses("stopped by a signal"))
@_setting("host", "Address to bind; other than loopback needs an API key.", "ADDRESS")
@_setting("port", "Port to bind; 0 takes a free one.", "PORT")
@_setting("api_key", "API key required by all routes but /, /schema and those of health.", "KEY")
@_repeatable("allow_host", "Host name accepted without an API key, beside localhost and IP addresses.", "NAME")
@_repeatable(
    "allow_origin", "Origin of web pages that may use the server (CORS), such as http://localhost:3000.", "ORIGIN"
)
@_setting("manifest", "Model manifest to use instead of the shipped one.", "FILE")
@click.option(
    "--model",
    "models",
    metavar="NAME=FILE.gguf",
    multiple=True,
    help="Serve a local GGUF file as NAME; repeatable.",
    shell_complete=named_file,
)
@_setting("default_model", "Model of requests that name none; by default the only one that is served.", "NAME")
@_setting("echo_model_name", "Answer with the model name of the request instead of the full name of the build.")
@_setting("use_recommended_sampling", "Use the sampling parameters that the manifest recommends for an alias.")
@_setting("offline", "Open no network connections.")
@_setting("gpu_layers", "Layers for GPU offload: auto, all, or a number.", "LAYERS")
@_setting("device", "GPUs for GPU offload, as listed by `localrouter devices`.", "NAME[,NAME]")
@_setting("tensor_split", "Proportions in which GPUs share the layers, such as 3,1; default: by free memory.", "N,N")
@_setting("require_gpu", "Fail instead of loading a model on the CPU that should run on a GPU.")
@_setting("context", "Maximum context of a request, prompt and output, in tokens.", "TOKENS")
@_setting("cells", "KV cache, in tokens, shared by all conversations of a model.", "TOKENS")
@_setting("max_sequences", "Maximum batch size: requests of a model that run concurrently.", "COUNT")
@_setting("threads", "CPU threads.", "COUNT")
@_setting("step_ms", "Limit of the inter-token latency (ITL) during the prefill of another request, in ms.", "MS")
@_setting("extra_buffers", "Repack weights for this CPU: auto, on or off.", "WHEN")
@_setting("kv_type", "KV-cache quantization: f16, q8_0 or q4_0.", "TYPE")
@_setting("flash_attention", "Flash attention: auto, on or off.", "WHEN")
@_setting("swa_full", "Full-context KV cache for sliding-window layers: auto, on or off.", "WHEN")
@_setting("ubatch", "Micro-batch size of llama.cpp, in tokens.", "TOKENS")
@_setting("cache_ram", "RAM for host offload of the KV cache of idle conversations; 0 disables it.", "MB")
@_setting("gpu_sampling", "GPU sampling, where its result is exact: auto, on or off.", "WHEN")
@_setting("max_queue", "Queued requests per model; beyond it: status 429.", "COUNT")
@_setting("max_body", "Largest request body, in bytes; beyond it: status 413.", "BYTES")
@_setting("max_loaded", "Models loaded at the same time.", "COUNT")
@_setting("load_timeout", "Seconds allowed for loading a model.", "SECONDS")
@_setting("grace", "Seconds for running requests to finish during a graceful shutdown.", "SECONDS")
@_setting("unknown_fields", "Unknown fields of requests: reject (status 400) or ignore.", "POLICY")
@_setting("sse_ping_seconds", "Seconds without an event after which a stream gets a comment; 0: none.", "SECONDS")
@_setting("log_level", "debug, info, warning or error.", "LEVEL")
def serve(models: tuple[str, ...], **options: object) -> None:
    """Serve an OpenAI-compatible API on this machine.

    Structured output, tool calling, prefix caching, continuous batching. An option overrides its environment variable,
    which overrides the default.
    """
    settings = read_settings(options)
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    _run(settings, models)


def read_settings(options: Mapping[str, object]) -> Settings:
    """Return the settings of the server: options that are not None, else environment variables, else defaults.

    Raises ConfigError, which names the option and the variable of an invalid setting.
    """
    settings = settings_of(Settings, options)
    if settings.api_key is not None and not settings.api_key.get_secret_value().strip():
        raise ConfigError("--api-key: the key is empty", hint="unset LOCALROUTER_API_KEY to serve without a key")
    settings.require_flash_attention_for_quantized_cache()
    settings.require_key_off_loopback()
    return settings


def _run(settings: Settings, models: Iterable[str]) -> None:
    """Run the server until a signal stops it."""
    # Imported late: huggingface_hub reads HF_HUB_OFFLINE at import, and --help should not load a web server.
    from localrouter.api.app import create_app
    from localrouter.api.server import GracefulServer, base_url, bind
    from localrouter.chat.prompt.renderer_pool import RendererPool
    from localrouter.memory.machine import this_machine
    from localrouter.router.router import Router
    from localrouter.weights.catalog import Catalog
    from localrouter.weights.extra_models import split_entries

    chosen = machine_of(settings) if settings.device or settings.tensor_split else None
    catalog = Catalog.read(
        settings.manifest,
        split_entries(models),
        machine=lambda: chosen or this_machine(),
        recommended_sampling=settings.use_recommended_sampling,
    )
    check_default_model(settings, catalog)
    listener = bind(settings.host, settings.port)
    _log_to_stderr(settings.log_level)
    os.environ["LOCALROUTER_LOG_LEVEL"] = settings.log_level  # for the workers
    app = create_app(Router(catalog, settings), catalog, settings, RendererPool())
    locked = settings.api_key is not None
    server = GracefulServer(app, settings, lambda: announce(base_url(listener), catalog.entries(), locked=locked))
    server.run([listener])
    if server.stopped_by == signal.SIGINT:
        raise KeyboardInterrupt


def check_default_model(settings: Settings, catalog: "Catalog") -> None:
    """Raise ConfigError for a `default_model` that the catalog does not know; it may be downloaded later."""
    if settings.default_model is None:
        return
    try:
        catalog.find(settings.default_model)
    except ModelNotFound as error:
        hint = "pass another --default-model, or change LOCALROUTER_DEFAULT_MODEL in the environment"
        raise ConfigError(f"--default-model: {error.message}", hint=hint) from None


def announce(url: str, entries: "Sequence[CatalogEntry]", *, locked: bool) -> None:
    """Print the server's address, the models that are ready, and an example request to stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    ready = [(entry.alias, entry.chosen.model) for entry in entries if entry.chosen is not None]
    console.print(f"localrouter is ready; base_url: {url}", style="bold")
    width = max((len(alias) for alias, _ in ready), default=0)
    for alias, model in ready:
        console.print(f"  {alias:<{width}}  {model}")
    if not ready:
        console.print(
            "  no model is on this machine yet; `localrouter list` shows the available models", style="yellow"
        )
        return
    body = f'{{"model": "{ready[0][0]}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    key = ' -H "authorization: Bearer $LOCALROUTER_API_KEY"' if locked else ""
    console.print(f"try: curl {url}/chat/completions{key} -H 'content-type: application/json' -d '{body}'")


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormat())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    if level != "debug":  # uvicorn logs its start and shutdown at info
        logging.getLogger("uvicorn.error").setLevel("WARNING")
