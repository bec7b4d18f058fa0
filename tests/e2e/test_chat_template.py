"""A chat template beside the manifest takes the place of the model's own."""

from pathlib import Path

import httpx
import openai
import pytest
from running_server import serving

import localrouter

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
MENDED = (
    "{% for message in messages %}<|im_start|>mended {{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
)


def manifest(folder: Path) -> Path:
    build = f'{{name = "Mended", path = "{DEMO}", chat_template = "mended.jinja"}}'
    (folder / "manifest.toml").write_text(f"version = 1\n[models.mended]\nbuilds = [{build}]\n")
    return folder / "manifest.toml"


def test_the_template_of_the_manifest_makes_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "mended.jinja").write_text(MENDED)
    body = {"model": "mended", "messages": [{"role": "user", "content": "Hi"}]}

    with serving("--manifest", str(manifest(tmp_path))) as server:
        told = httpx.post(f"{server.base_url}/chat/completions/explain", json=body).json()
        [model] = httpx.get(f"{server.base_url}/models").json()["data"]

    assert told["prompt"] == "<|im_start|>mended user\nHi<|im_end|>\n"
    assert told["template"]["source"] == model["chat_template"] == "manifest"
    assert told["template"]["sha256"] == model["chat_template_sha256"]


def test_a_template_that_is_not_there_is_told_without_its_path(tmp_path: Path) -> None:
    with serving("--manifest", str(manifest(tmp_path))) as server, pytest.raises(openai.InternalServerError) as caught:
        server.client().chat.completions.create(model="mended", messages=[{"role": "user", "content": "Hi"}])

    assert caught.value.code == "model_load_failed"
    assert "chat template" in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_a_template_that_writes_nothing_is_a_400(tmp_path: Path) -> None:
    (tmp_path / "mended.jinja").write_text("{{ '' }}")

    with serving("--manifest", str(manifest(tmp_path))) as server, pytest.raises(openai.BadRequestError) as caught:
        server.client().chat.completions.create(model="mended", messages=[{"role": "user", "content": "Hi"}])

    assert caught.value.code == "empty_prompt"
