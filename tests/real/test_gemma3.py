"""Gemma 3 270M (Q4_K_M, pretrained): sliding windows, and a model that has no chat template."""

import openai
import pytest
from running_server import RunningServer

pytestmark = pytest.mark.real

COUNTING = " ".join(f"{number}," for number in range(1, 700))
"""A text of about 2,700 tokens; the model's window is 512."""


def continued(client: openai.OpenAI, prompt: str, tokens: int = 8) -> str:
    """Return the greedy continuation of a raw prompt."""
    completion = client.completions.create(model="gemma3", prompt=prompt, max_tokens=tokens, temperature=0)
    return completion.choices[0].text


def test_a_raw_prompt_is_continued_with_sense(real_client: openai.OpenAI) -> None:
    assert continued(real_client, "The opposite of hot is").startswith(" cold.")


def test_a_prompt_of_several_windows_is_continued_and_can_be_continued_again(real_client: openai.OpenAI) -> None:
    assert continued(real_client, COUNTING).startswith(" 700, 70")
    assert continued(real_client, f"{COUNTING} 700, 701,").startswith(" 702,")


def test_without_a_template_no_delimiter_of_a_turn_is_written_as_text(real_client: openai.OpenAI) -> None:
    completion = real_client.chat.completions.create(
        model="gemma3", messages=[{"role": "user", "content": "Hello"}], max_tokens=40, temperature=0
    )

    text = completion.choices[0].message.content or ""
    assert not [name for name in ("<start_of_turn>", "<end_of_turn>", "<|im_start|>", "<|im_end|>") if name in text]


def test_the_log_says_that_the_model_has_no_template_and_what_is_used(
    real_client: openai.OpenAI, real_server: RunningServer
) -> None:
    continued(real_client, "One", tokens=1)

    assert [line for line in real_server.log if "no chat template" in line and "gemma" in line]
