"""SmolLM2-135M-Instruct (Q4_1, Llama architecture): answers that make sense, which random weights cannot show."""

import json
from typing import Any

import openai
import pytest
from real_server import greedy

pytestmark = pytest.mark.real

NETHERLANDS = "What is the capital of the Netherlands?"
AMSTERDAM = "The capital of the Netherlands is Amsterdam."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CAPITAL: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "capital",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
            "required": ["country", "capital"],
            "additionalProperties": False,
        },
    },
}


def test_a_greedy_answer_makes_sense_and_ends_by_itself(real_client: openai.OpenAI) -> None:
    completion = greedy(real_client, NETHERLANDS)

    assert completion.choices[0].message.content == AMSTERDAM
    assert completion.choices[0].finish_reason == "stop"


def test_the_same_question_with_its_prefix_cached_has_the_same_answer(real_client: openai.OpenAI) -> None:
    greedy(real_client, NETHERLANDS)
    completion = greedy(real_client, NETHERLANDS)

    assert completion.choices[0].message.content == AMSTERDAM
    assert completion.usage is not None
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == completion.usage.prompt_tokens - 1


def test_a_stream_has_the_text_of_the_plain_answer(real_client: openai.OpenAI) -> None:
    stream = real_client.chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": NETHERLANDS}], temperature=0, max_tokens=60, stream=True
    )

    deltas = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len([text for text in deltas if text]) > 5
    assert "".join(deltas) == AMSTERDAM


def test_a_later_turn_reads_the_earlier_ones(real_client: openai.OpenAI) -> None:
    earlier = [{"role": "user", "content": NETHERLANDS}, {"role": "assistant", "content": AMSTERDAM}]
    completion = greedy(real_client, [*earlier, {"role": "user", "content": "And what is the capital of France?"}])

    assert "Paris" in (completion.choices[0].message.content or "")


def test_a_stop_sequence_ends_the_answer_before_it(real_client: openai.OpenAI) -> None:
    completion = greedy(real_client, NETHERLANDS, stop=["Amsterdam"])

    assert completion.choices[0].message.content == AMSTERDAM.partition("Amsterdam")[0]
    assert completion.choices[0].finish_reason == "stop"


def test_a_schema_holds_the_form_and_the_model_fills_it_with_sense(real_client: openai.OpenAI) -> None:
    completion = greedy(real_client, "What is the capital of France? Answer as JSON.", response_format=CAPITAL)

    found = json.loads(completion.choices[0].message.content or "")
    assert found.keys() == {"country", "capital"}
    assert found["capital"] == "Paris"


def test_a_required_tool_is_called_with_the_city_that_was_asked_for(real_client: openai.OpenAI) -> None:
    choice = greedy(
        real_client, "What is the weather in Paris?", tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    ).choices[0]

    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_a_seed_repeats_a_sampled_answer_and_another_seed_changes_it(real_client: openai.OpenAI) -> None:
    def sampled(seed: int) -> str | None:
        question: Any = [{"role": "user", "content": "Tell me about the sea."}]
        completion = real_client.chat.completions.create(model="smollm2", messages=question, seed=seed, max_tokens=40)
        return completion.choices[0].message.content

    first = sampled(1)
    assert sampled(1) == first
    assert sampled(2) != first
