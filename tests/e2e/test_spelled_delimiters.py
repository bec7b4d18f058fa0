"""What a grammar or the vocabulary makes text is sent and counted as text, whatever delimiters it spells."""

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from loaded_model import LoadedModel, loaded
from matrix import Json, comparable
from noise_models import write_noise
from real_vocabularies import needs_samples, write_small_model

from localrouter.chat.families.detection import family_of
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.chat.response.text_completion import TextCompletion, fold_text
from localrouter.schema.text_completions import CompletionRequest

MODELS: dict[str, tuple[Callable[[Path], Path], str | None]] = {
    "Qwen": (lambda folder: write_noise(folder, "qwen3", width=64), None),
    "Gemma": (lambda folder: write_noise(folder, "gemma4", width=64), None),
    "Qwen's template, delimiters that are no tokens": (lambda folder: write_small_model(folder, "qwen"), None),
    "a template without reasoning": (lambda folder: write_small_model(folder, "qwen"), CHATML),
}
PARAMS = [pytest.param(name, marks=pytest.mark.slow if name == "Gemma" else ()) for name in MODELS]
pytestmark = [needs_samples, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=PARAMS)
async def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LoadedModel]:
    write, template = MODELS[request.param]
    model = await loaded(request.param, write(tmp_path_factory.mktemp("model")), template)
    yield model
    await model.close()


def spelled(model: LoadedModel) -> str:
    """Return JSON with a delimiter of the model's family in it, and one first."""
    return f'{{"tag": "{family_of(model.engine.info).reasoning.begin} is a tag", "b": 1}}'


def asked(text: str, **fields: object) -> Json:
    """Return a request that can only be answered with this text, after reasoning if there is some."""
    messages = [{"role": "user", "content": "Which tag?"}]
    body = {"model": "m", "messages": messages, "regex": re.escape(text), "seed": 1, "max_completion_tokens": 200}
    return body | {"reasoning_effort": "none", "logprobs": True} | fields


def reasoning_tokens(answer: Json) -> int:
    tokens: int = answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
    return tokens


def bytes_of(choice: Json) -> bytes:
    return b"".join(bytes(token["bytes"]) for token in choice["logprobs"]["content"])


async def test_a_delimiter_that_a_regex_spells_is_content(model: LoadedModel) -> None:
    text = spelled(model)

    plain, streamed = await model.answers(asked(text, n=2))

    for choice in plain["choices"]:
        assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")
        assert "reasoning_content" not in choice["message"]
        assert bytes_of(choice) == text.encode()
    assert reasoning_tokens(plain) == 0
    assert comparable(streamed) == comparable(plain)


async def test_a_text_that_begins_with_the_delimiter_is_content_where_there_is_no_reasoning(model: LoadedModel) -> None:
    text = family_of(model.engine.info).reasoning.begin + " is a tag"

    plain, streamed = await model.answers(asked(text))

    assert plain["choices"][0]["message"]["content"] == text
    assert reasoning_tokens(plain) == 0
    assert comparable(streamed) == comparable(plain)


@pytest.mark.parametrize("of", ["schema", "grammar"])
async def test_other_structured_output_is_content_too(model: LoadedModel, of: str) -> None:
    text = spelled(model)
    schema = {"type": "json_schema", "json_schema": {"name": "tag", "schema": {"const": json.loads(text)}}}
    form = {"response_format": schema} if of == "schema" else {"grammar": f"start: {json.dumps(text)}"}

    plain, _ = await model.answers(asked(text, regex=None, **form))

    assert json.loads(plain["choices"][0]["message"]["content"]) == json.loads(text)
    assert reasoning_tokens(plain) == 0


async def test_stop_strings_are_looked_for_behind_a_spelled_delimiter(model: LoadedModel) -> None:
    text = spelled(model)

    plain, _ = await model.answers(asked(text, stop=" tag"))

    [choice] = plain["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text.split(" tag")[0], "stop")
    assert bytes_of(choice) == text.split(" tag")[0].encode()


async def test_after_reasoning_a_spelled_delimiter_is_content(model: LoadedModel) -> None:
    text, info = spelled(model), model.engine.info
    begin = family_of(info).reasoning.begin
    bias = {str(info.special_tokens[begin]): 30} if begin in info.special_tokens else {}
    fields = {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": None, "reasoning_budget": 8}

    plain, streamed = await model.answers(asked(text, logit_bias=bias, **fields))

    [choice] = plain["choices"]
    assert choice["message"]["content"] == text
    assert bool(reasoning_tokens(plain)) == ("reasoning_content" in choice["message"])
    assert bias == {} or reasoning_tokens(plain) > 0
    assert comparable(streamed) == comparable(plain)


async def test_raw_prompts_are_answered_with_text_alone(model: LoadedModel) -> None:
    text = spelled(model)
    request = {"model": "m", "prompt": "Which tag?", "regex": re.escape(text), "max_tokens": 200, "stream": False}

    completion = await TextCompletion.begin(model.engine, CompletionRequest.model_validate(request))
    answer = await fold_text(completion.chunks())

    assert answer.choices[0].text == text
    assert answer.usage
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0
