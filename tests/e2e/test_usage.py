"""Usage is the tokenizer's: equal to a separate count with llama.cpp, streamed or not, in every vocabulary."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import Llama
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from openai.types import CompletionUsage
from real_vocabularies import VOCABULARIES, needs_samples
from running_server import RunningServer, serving

import localrouter

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
WORDS = ["water", "Straße", "naïve", "日本語", "🙂", "x=1;", "don't", "  two  spaces ", "\n", "1234567", "мир"]
MAX_TOKENS = 12


def conversation(seed: int) -> list[dict[str, str]]:
    """Return one to seven turns of random words, the last the user's."""
    choice = random.Random(seed)

    def text() -> str:
        return " ".join(choice.choices(WORDS, k=choice.randint(1, 30)))

    messages = [{"role": "system", "content": text()}] if choice.random() < 0.5 else []
    for _ in range(choice.randint(0, 3)):
        messages += [{"role": "user", "content": text()}, {"role": "assistant", "content": text()}]
    return [*messages, {"role": "user", "content": text()}]


class Counter:
    """Counts with llama.cpp's own tokenizer and a separate rendering of the template."""

    def __init__(self, path: Path) -> None:
        self.model = Llama(str(path), vocab_only=True, verbose=False)
        begin, end = (self._text(token) for token in (self.model.token_bos(), self.model.token_eos()))
        template = self.model.metadata["tokenizer.chat_template"]
        self.formatter = Jinja2ChatFormatter(template=template, bos_token=begin, eos_token=end)

    def _text(self, token: int) -> str:
        return str(self.model.detokenize([token], special=True).decode())

    def tokens(self, text: str) -> int:
        return len(self.model.tokenize(text.encode(), add_bos=False, special=True))

    def prompt(self, messages: list[dict[str, str]]) -> int:
        formatted: Any = self.formatter(messages=messages)
        return self.tokens(formatted.prompt)


@pytest.fixture(scope="module")
def server(small_models: dict[str, Path]) -> Iterator[RunningServer]:
    """Serves the small models beside `demo`."""
    models = [f"--model={family}-small={path}" for family, path in small_models.items()]
    with serving(*models, "--max-loaded", "3", "--threads", "1") as running:
        yield running


def counts(usage: CompletionUsage) -> tuple[int, int, int]:
    """What is counted; how much of it was shared with the request before is another matter."""
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


@needs_samples
@pytest.mark.parametrize("family", ["demo", *(pytest.param(name, marks=pytest.mark.slow) for name in VOCABULARIES)])
def test_usage_equals_a_separate_count(family: str, server: RunningServer, small_models: dict[str, Path]) -> None:
    counter = Counter(DEMO if family == "demo" else small_models[family])
    client = server.client()
    model = "demo" if family == "demo" else f"{family}-small"
    for seed in range(20):
        messages: Any = conversation(seed)
        asked: dict[str, Any] = {"model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}

        plain = client.chat.completions.create(**asked)
        *_, last = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})

        assert plain.usage is not None
        assert plain.usage.prompt_tokens == counter.prompt(messages)
        assert last.usage is not None
        assert counts(last.usage) == counts(plain.usage)
        if plain.choices[0].finish_reason == "length":
            assert plain.usage.completion_tokens == MAX_TOKENS
        else:
            text = plain.choices[0].message.content or ""
            assert plain.usage.completion_tokens == counter.tokens(text) + 1
