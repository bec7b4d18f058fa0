"""Facts of a build, from the manifest, its pin, the disk and the GGUF header."""

from pathlib import Path
from typing import Any

from localrouter.gguf.header import CHAT_TEMPLATE, GgufError, GgufHeader, read_header
from localrouter.gguf.turn_format import fallback_of_header
from localrouter.weights.build_location import Damaged, Found, Location
from localrouter.weights.hub.resolve import template_digest
from localrouter.weights.manifest.manifest import Source
from localrouter.weights.registry import RegistryEntry


def facts(entry: RegistryEntry) -> dict[str, Any]:
    """Return the facts of a build as JSON data; unknown ones are None. Raises ManifestError."""
    build, pin, location = entry.locked, entry.pin, entry.locate()
    return {
        "model": build.name,
        "alias": entry.alias,
        "variant": build.variant,
        "license": build.license,
        "source": build.source,
        "repo": build.repo,
        "file": build.file or build.path or build.asset,
        "revision": build.revision,
        "page": _page(entry),
        "pinned_by": None if pin is None else "lock" if entry.build.name in entry.lock.entries else "manifest",
        "size": pin.size if pin else build.size,
        "files": [] if pin is None else [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in pin.files],
        "sha256": build.sha256,
        "template_sha256": None if pin is None else pin.template_sha256,
        "chat_template": build.chat_template,
        "manifest": str(entry.manifest),
        "state": _state(build.source, location),
        "paths": [str(path) for path in entry.files(location.path)] if isinstance(location, (Found, Damaged)) else [],
        "header": _header(location, has_template=build.chat_template is not None),
    }


def header_facts(header: GgufHeader) -> dict[str, Any]:
    """Return the facts of a GGUF header that `localrouter show` prints."""
    return {
        "name": header.name,
        "architecture": header.architecture,
        "quantization": header.file_type,
        "parameters": header.parameters,
        "context_length": header.context_length,
        "license": header.license,
        "chat_template": CHAT_TEMPLATE in header.metadata,
        "template_sha256": template_digest(header),
        "tensors": header.tensor_count,
        "weight_bytes": header.weight_bytes,
        "version": header.version,
    }


def _header(location: Location, *, has_template: bool) -> dict[str, Any] | None:
    """Return the facts of a file's header, or its error; None for a missing file.

    `fallback_template` names the fallback where neither the file nor the manifest has a chat template.
    """
    if not isinstance(location, (Found, Damaged)):
        return None
    try:
        path = Path(location.path)
        header = read_header(path)
        turns = None if has_template else fallback_of_header(path, header)
        return header_facts(header) | {"fallback_template": turns and f"fallback {turns}"}
    except GgufError as error:
        return {"error": error.message}


def _state(source: Source, location: Location) -> str:
    match location:
        case Found():
            return "on_disk"
        case Damaged():
            return "wrong_size"
    return "not_downloaded" if source == "hub" else "missing"


def _page(entry: RegistryEntry) -> str | None:
    build = entry.locked
    if build.repo is None:
        return None
    return f"https://huggingface.co/{build.repo}/blob/{build.revision or 'main'}/{build.file}"
