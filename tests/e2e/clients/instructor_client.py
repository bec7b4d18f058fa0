"""instructor, whose answers are all of a form: it has nothing plain."""

from typing import Any, Literal

import instructor  # type: ignore[import-not-found]
from client_steps import KEY, MODEL, PERSON, expect, run
from openai import OpenAI
from pydantic import BaseModel


class Person(BaseModel):
    """A person."""

    kind: Literal["sailor", "smith"]
    is_old: bool


def extract(base_url: str, mode: Any, **fields: Any) -> Any:
    client = instructor.from_openai(OpenAI(base_url=base_url, api_key=KEY), mode=mode)
    asked = {"model": MODEL, "messages": [{"role": "user", "content": PERSON}], "max_retries": 0, "temperature": 0}
    return client.chat.completions.create(response_model=fields.pop("response_model", Person), **asked, **fields)


def tools(base_url: str) -> None:
    person = extract(base_url, instructor.Mode.TOOLS)
    expect(isinstance(person, Person), f"the answer is {person!r}")


def structured(base_url: str) -> None:
    person = extract(base_url, instructor.Mode.JSON_SCHEMA)
    expect(isinstance(person, Person), f"the answer is {person!r}")


def stream(base_url: str) -> None:
    parts = list(extract(base_url, instructor.Mode.TOOLS, response_model=instructor.Partial[Person], stream=True))
    expect(parts and parts[-1].kind, f"the streamed parts are {parts!r}")


run({"stream": stream, "tools": tools, "structured": structured})
