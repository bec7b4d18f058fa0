"""What the tests of real weights share: the weights' files, and greedy requests to a server that serves them."""

from typing import Any

import openai
from openai.types.chat import ChatCompletion

from scripts.real_weights import GEMMA3, SMOLLM2, Weights, weights_folder

MODELS = {"smollm2": SMOLLM2, "gemma3": GEMMA3}
"""The weights by the alias that the server serves them under."""


def path_of(weights: Weights) -> str:
    """Return the path of a GGUF file in the cache, whether or not it is there."""
    return str(weights_folder() / weights.name)


def greedy(client: openai.OpenAI, messages: str | list[Any], **fields: Any) -> ChatCompletion:
    """Return SmolLM2's greedy chat completion for a conversation, or for one message of the user."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    options: dict[str, Any] = {"max_tokens": 60, **fields}
    found: ChatCompletion = client.chat.completions.create(model="smollm2", messages=messages, temperature=0, **options)
    return found
