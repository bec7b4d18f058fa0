"""The openai package."""

from typing import Literal

from client_steps import ANSWER, KEY, MODEL, PERSON, QUESTION, RESULT, WEATHER, expect, run
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

TOOL: ChatCompletionToolParam = {
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


def ask(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def client(base_url: str) -> OpenAI:
    return OpenAI(base_url=base_url, api_key=KEY)


def plain(base_url: str) -> None:
    answer = client(base_url).chat.completions.create(model=MODEL, messages=ask(QUESTION), temperature=0)
    text = answer.choices[0].message.content or ""
    expect(ANSWER in text, f"the answer is {text!r}")


def stream(base_url: str) -> None:
    chunks = client(base_url).chat.completions.create(
        model=MODEL, messages=ask(QUESTION), temperature=0, stream=True, stream_options={"include_usage": True}
    )
    text, tokens = "", 0
    for chunk in chunks:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    expect(ANSWER in text, f"the streamed answer is {text!r}")
    expect(tokens, "the stream has no usage")


def tools(base_url: str) -> None:
    messages = ask(WEATHER)
    create = client(base_url).chat.completions.create
    asked = create(model=MODEL, messages=messages, tools=[TOOL], tool_choice="required", temperature=0)
    message = asked.choices[0].message
    calls = message.tool_calls or []
    expect(calls and calls[0].type == "function", f"no function was called: {message}")
    messages.append(message.to_dict())  # type: ignore[arg-type] # what came goes back, as people write it
    messages += [{"role": "tool", "tool_call_id": each.id, "content": RESULT} for each in calls]
    answered = create(model=MODEL, messages=messages, tools=[TOOL], tool_choice="none", temperature=0)
    expect(answered.choices[0].message.content, "nothing was said about the result")


def structured(base_url: str) -> None:
    parsed = client(base_url).chat.completions.parse(model=MODEL, messages=ask(PERSON), response_format=Person)
    expect(parsed.choices[0].message.parsed, f"the answer is {parsed.choices[0].message.content!r}")


run({"plain": plain, "stream": stream, "tools": tools, "structured": structured})
