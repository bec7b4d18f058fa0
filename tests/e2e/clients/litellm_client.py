"""litellm."""

from typing import Any, Literal

import litellm  # type: ignore[import-not-found]
from client_steps import ANSWER, KEY, MODEL, PERSON, QUESTION, RESULT, WEATHER, expect, run
from pydantic import BaseModel

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}


class Person(BaseModel):
    kind: Literal["sailor", "smith"]
    is_old: bool


def complete(base_url: str, messages: list[Any], **fields: Any) -> Any:
    asked = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": KEY, "temperature": 0, "num_retries": 0}
    return litellm.completion(messages=messages, **asked, **fields)


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def plain(base_url: str) -> None:
    text = complete(base_url, ask(QUESTION)).choices[0].message.content
    expect(ANSWER in text, f"the answer is {text!r}")


def stream(base_url: str) -> None:
    chunks = list(complete(base_url, ask(QUESTION), stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    expect(ANSWER in text, f"the streamed answer is {text!r}")
    expect(any(getattr(chunk, "usage", None) for chunk in chunks), "the stream has no usage")


def tools(base_url: str) -> None:
    messages = ask(WEATHER)
    message = complete(base_url, messages, tools=[TOOL], tool_choice="required").choices[0].message
    expect(message.tool_calls, f"no function was called: {message}")
    results = [{"role": "tool", "tool_call_id": call.id, "content": RESULT} for call in message.tool_calls]
    messages += [message, *results]
    answered = complete(base_url, messages, tools=[TOOL], tool_choice="none").choices[0].message
    expect(answered.content, "nothing was said about the result")


def structured(base_url: str) -> None:
    text = complete(base_url, ask(PERSON), response_format=Person).choices[0].message.content
    expect(Person.model_validate_json(text), f"the answer is {text!r}")


run({"plain": plain, "stream": stream, "tools": tools, "structured": structured})
