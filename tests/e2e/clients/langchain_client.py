"""langchain-openai."""

from typing import Any, Literal

from client_steps import ANSWER, KEY, MODEL, PERSON, QUESTION, RESULT, WEATHER, expect, run
from langchain_core.messages import HumanMessage, ToolMessage  # type: ignore[import-not-found]
from langchain_openai import ChatOpenAI  # type: ignore[import-not-found]
from pydantic import BaseModel


class Person(BaseModel):
    """A person."""

    kind: Literal["sailor", "smith"]
    is_old: bool


class GetWeather(BaseModel):
    """Get the weather of a city."""

    city: Literal["Paris", "Rome"]


def chat(base_url: str) -> Any:
    return ChatOpenAI(base_url=base_url, api_key=KEY, model=MODEL, temperature=0)


def plain(base_url: str) -> None:
    text = chat(base_url).invoke(QUESTION).content
    expect(ANSWER in text, f"the answer is {text!r}")


def stream(base_url: str) -> None:
    chunks = list(chat(base_url).stream(QUESTION, stream_usage=True))
    text = "".join(chunk.content for chunk in chunks)
    expect(ANSWER in text, f"the streamed answer is {text!r}")
    expect(any(chunk.usage_metadata for chunk in chunks), "the stream has no usage")


def tools(base_url: str) -> None:
    messages: list[Any] = [HumanMessage(WEATHER)]
    called = chat(base_url).bind_tools([GetWeather], tool_choice="GetWeather").invoke(messages)
    expect(called.tool_calls, f"no function was called: {called}")
    expect(called.tool_calls[0]["args"].keys() == {"city"}, f"the arguments are {called.tool_calls[0]['args']}")
    messages += [called, *(ToolMessage(RESULT, tool_call_id=call["id"]) for call in called.tool_calls)]
    answered = chat(base_url).bind_tools([GetWeather], tool_choice="none").invoke(messages)
    expect(answered.content, "nothing was said about the result")


def structured(base_url: str) -> None:
    person = chat(base_url).with_structured_output(Person).invoke(PERSON)
    expect(isinstance(person, Person), f"the answer is {person!r}")


run({"plain": plain, "stream": stream, "tools": tools, "structured": structured})
