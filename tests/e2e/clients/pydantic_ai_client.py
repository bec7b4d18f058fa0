"""pydantic-ai."""

import asyncio
from typing import Any, Literal

from client_steps import ANSWER, KEY, MODEL, PERSON, QUESTION, expect, run
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput  # type: ignore[import-not-found]
from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found]
from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found]

SETTINGS = {"temperature": 0.0, "max_tokens": 256}


class Person(BaseModel):
    """A person."""

    kind: Literal["sailor", "smith"]
    is_old: bool


def model(base_url: str) -> Any:
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=base_url, api_key=KEY))


def plain(base_url: str) -> None:
    text = Agent(model(base_url), model_settings=SETTINGS).run_sync(QUESTION).output
    expect(ANSWER in text, f"the answer is {text!r}")


def stream(base_url: str) -> None:
    async def streamed() -> str:
        async with Agent(model(base_url), model_settings=SETTINGS).run_stream(QUESTION) as answer:
            return "".join([piece async for piece in answer.stream_text(delta=True)])

    text = asyncio.run(streamed())
    expect(ANSWER in text, f"the streamed answer is {text!r}")


def tools(base_url: str) -> None:
    """What the agent's output is made of is a tool, which has to be called."""
    agent = Agent(model(base_url), model_settings=SETTINGS, output_type=ToolOutput(Person, name="describe_person"))
    person = agent.run_sync(PERSON).output
    expect(isinstance(person, Person), f"the answer is {person!r}")


def structured(base_url: str) -> None:
    person = Agent(model(base_url), model_settings=SETTINGS, output_type=NativeOutput(Person)).run_sync(PERSON).output
    expect(isinstance(person, Person), f"the answer is {person!r}")


run({"plain": plain, "stream": stream, "tools": tools, "structured": structured})
