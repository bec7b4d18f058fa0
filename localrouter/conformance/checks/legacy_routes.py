"""Checks of legacy and deprecated features: `/v1/completions`, and functions, the predecessor of tools."""

from typing import Any

import openai
from openai.types import Completion

from localrouter.conformance.check import Broken, CheckGroup, Undecided, equal, expect, thrice
from localrouter.conformance.checks.tool_calls import function
from localrouter.conformance.server_under_test import ServerUnderTest

LEGACY = CheckGroup("legacy")
_PATH = "completions"
_OLD = ("functions", "function_call")


@LEGACY.check(_PATH)
def a_completion_has_the_shape_of_the_sdk(server: ServerUnderTest) -> None:
    """The completion object has every field that the reference calls required, and is a `text_completion`."""
    answer = server.complete()
    Completion.model_validate(answer)
    equal(answer["object"], "text_completion", "object")
    expect(isinstance(answer["choices"][0]["text"], str), "the choice has no text")


@LEGACY.check(_PATH)
def a_completion_adds_up(server: ServerUnderTest) -> None:
    """`max_tokens` holds, and `usage` counts prompt and completion."""
    answer = server.complete(max_tokens=3)
    usage, text = answer["usage"], answer["choices"][0]["text"]
    expect(usage["completion_tokens"] <= 3, f"{usage['completion_tokens']} tokens were generated with a limit of 3")
    expect(usage["completion_tokens"] > 0 or not text, f"no token was counted for {text!r}")
    expect(usage["prompt_tokens"] > 0, "no token of the prompt was counted")
    equal(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"], "total_tokens")


@LEGACY.check(_PATH)
@thrice
def a_streamed_completion_is_the_plain_one(server: ServerUnderTest) -> None:
    """Streamed, texts join to that of a plain completion, and `data: [DONE]` comes last."""
    same = {"temperature": 0, "seed": 7}
    plain, again = (server.complete(**same)["choices"][0] for _ in range(2))
    if plain["text"] != again["text"]:
        raise Undecided("two plain completions at temperature 0 differ already")
    stream = server.stream_completion(**same)
    equal(stream.text(), plain["text"], "the streamed text")
    equal(stream.finish_reasons(), [plain["finish_reason"]], "the list of finish reasons")
    expect(stream.done, "the last event was not [DONE]")


@LEGACY.check(_PATH, "prompt")
def several_prompts_have_a_choice_each(server: ServerUnderTest) -> None:
    """`prompt` may be an array of strings."""
    choices = server.complete(prompt=["Once", "Twice"], max_tokens=2)["choices"]
    equal(sorted(choice["index"] for choice in choices), [0, 1], "the list of indexes")


@LEGACY.check(_PATH, "echo")
def echo_repeats_the_prompt(server: ServerUnderTest) -> None:
    """`echo` gives back the prompt in addition to the completion."""
    text = server.complete(prompt="Once upon", echo=True, max_tokens=2)["choices"][0]["text"]
    expect(text.startswith("Once upon"), f"{text!r} does not begin with the prompt")


@LEGACY.check(_PATH, "logprobs")
def a_completion_has_log_probabilities(server: ServerUnderTest) -> None:
    """`logprobs` includes those of the most likely tokens, as well as the chosen ones: the maximum is 5."""
    found = server.complete(logprobs=2, max_tokens=4, temperature=0)["choices"][0].get("logprobs")
    expect(found, f"logprobs is {found!r}")
    lengths = {len(found[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
    expect(len(lengths) == 1 and lengths != {0}, f"the lists of logprobs have {sorted(lengths)} entries")


@LEGACY.check(_PATH, "suffix")
def a_suffix_is_rejected_or_supported(server: ServerUnderTest) -> None:
    """`suffix` comes after a completion of inserted text, and is supported by one model only."""
    bare = server.complete(max_tokens=1)["usage"]["prompt_tokens"]
    try:
        more = server.complete(suffix=" and they lived there for ever.", max_tokens=1)["usage"]["prompt_tokens"]
    except openai.BadRequestError as error:
        server.came = error.response.text
        expect("suffix" in error.response.text, f"the error does not name the field: {error.message}")
        return
    expect(more > bare, "the suffix was dropped in silence: the prompt is as long as without it")


def _function_call(server: ServerUnderTest, **fields: Any) -> dict[str, Any]:
    choice = server.ask(functions=[function("get_weather")["function"]], max_tokens=64, **fields)["choices"][0]
    call = choice["message"].get("function_call")
    if call:
        return dict(call)
    if choice["finish_reason"] == "length":
        raise Undecided("the answer was cut before a call")
    raise Broken("no call was made")


@LEGACY.check(*_OLD)
def a_named_function_of_functions_is_called(server: ServerUnderTest) -> None:
    """`function_call` with a name forces the model to call that function; the message has a `function_call`."""
    equal(
        _function_call(server, function_call={"name": "get_weather"})["name"], "get_weather", "the name of the function"
    )
