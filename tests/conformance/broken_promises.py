"""Ways to break what was promised, and the checks that have to find each."""

from collections.abc import Callable
from typing import Any


def first(answer: Any) -> Any:
    return answer["choices"][0]


DROPPED: dict[str, list[str]] = {
    "stream_options": ["usage comes last when it is asked for", "stream options without a stream are rejected"],
    "max_tokens": ["max tokens holds", "a stream ends at max tokens", "a negative limit is rejected"],
    "max_completion_tokens": ["max completion tokens holds", "both limits together are rejected or both hold"],
    "temperature": [
        "a temperature over 2 is rejected",
        "a negative temperature is rejected",
        "a wrong type is 400 and named",
    ],
    "top_p": ["a top p over 1 is rejected", "a negative top p is rejected"],
    "stop": [
        "a stop text ends the answer",
        "a list of stops ends the answer",
        "four stops are taken",
        "a stop text may be of several tokens",
        "a stop text is not in the answer",
        "a stop text is not in the stream",
        "five stops are rejected",
    ],
    "n": [
        "n gives that many choices",
        "n streams that many choices",
        "usage counts all choices and the prompt once",
        "usage of a stream counts all choices",
        "an n of 0 is rejected",
    ],
    "logprobs": ["every token has its log probability", "bytes join to the text", "a stream has log probabilities"],
    "top_logprobs": [
        "top logprobs gives that many",
        "top logprobs without logprobs is rejected",
        "top logprobs over 20 is rejected",
    ],
    "logit_bias": [
        "a bias of 100 forces a token",
        "a bias over 100 is rejected",
        "a bias for an unknown token is rejected",
    ],
    "presence_penalty": ["a presence penalty over 2 is rejected"],
    "frequency_penalty": [
        "a frequency penalty under minus 2 is rejected",
        "a frequency penalty grows with each use",
    ],
    "response_format": [
        "json object gives an object",
        "a strict schema gives its properties",
        "a strict schema holds an enum",
        "a strict schema holds inside objects",
        "a strict schema holds in arrays",
        "a strict schema holds a range",
        "a strict schema holds a pattern",
        "a strict schema holds alternatives",
        "a strict schema may have definitions",
        "an invalid schema is rejected by name",
        "a schema without a name is rejected",
        "an unknown format is rejected",
    ],
    "tool_choice": [
        "a named function is called",
        "arguments follow their schema",
        "nested arguments follow their schema",
        "a function without parameters has no arguments",
        "every call has an id of its own",
        "required makes a call",
        "an answer with a required call ends with tool calls",
        "only allowed tools are called",
        "a streamed call begins with its id and name",
        "streamed arguments follow their schema",
        "streamed calls are those of a plain answer",
        "an unknown named function is rejected",
        "an unknown tool choice is rejected",
        "a required call without tools is rejected",
    ],
    "tools": [
        "tools are read",
        "two functions of one name are rejected",
        "an illegal name is rejected",
        "a name of 65 characters is rejected",
        "an unknown kind of tool is rejected",
    ],
    "reasoning_effort": ["an unknown effort is rejected"],
    "modalities": ["audio is rejected or comes"],
    "suffix": ["a suffix is rejected or supported"],
    "function_call": ["a named function of functions is called"],
    "echo": ["echo repeats the prompt"],
    "no_such_field": ["an unknown field is rejected"],
}
"""Fields that a server drops in silence."""

ANSWERS: dict[str, Callable[[Any], object]] = {
    "an answer has the shape of the sdk": lambda answer: answer.pop("created"),
    "an answer is named a chat completion": lambda answer: answer.update(object="text"),
    "every answer has an id of its own": lambda answer: answer.update(id="same"),
    "an answer says when it was made": lambda answer: answer.update(created=0),
    "an answer names its model": lambda answer: answer.update(model=""),
    "an answer has one choice of the assistant": lambda answer: first(answer)["message"].update(role="user"),
    "content is text": lambda answer: first(answer)["message"].update(content=["a"]),
    "an answer ends with stop or length": lambda answer: first(answer).update(finish_reason="eos"),
    "usage adds up": lambda answer: answer["usage"].update(total_tokens=1),
    "a longer prompt has more tokens": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a system message is read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a long conversation is read whole": lambda answer: answer["usage"].update(prompt_tokens=1),
    "control tokens in content are text": lambda answer: answer["usage"].update(prompt_tokens=1),
    "temperature 0 repeats itself": lambda answer: first(answer)["message"].update(content=answer["id"]),
    "a seed repeats itself": lambda answer: first(answer)["message"].update(content=answer["id"]),
    "none makes no call": lambda answer: first(answer)["message"].update(tool_calls=[{"id": "1"}]),
    "one call at most without parallel calls": lambda answer: first(answer)["message"].update(tool_calls=[{}, {}]),
    "models are listed": lambda answer: answer.update(object="models"),
    "usage says what was cached": lambda answer: answer["usage"]["prompt_tokens_details"].update(cached_tokens=10**6),
    "usage says what was reasoning": lambda answer: answer["usage"]["completion_tokens_details"].update(
        reasoning_tokens=10**6
    ),
    "reasoning is counted": lambda answer: answer["usage"].update(completion_tokens_details={"reasoning_tokens": 0}),
    "reasoning is not content": lambda answer: first(answer)["message"].update(content="<think>Well.</think> a"),
    "reasoning is limited too": lambda answer: answer["usage"].update(completion_tokens=7),
    "no log probabilities come unasked": lambda answer: first(answer).update(logprobs={"content": []}),
    "several system messages are read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "two turns of a user are read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "an assistant may begin": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a conversation may end with the assistant": lambda answer: answer["usage"].update(prompt_tokens=1),
    "parts of an assistant are read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "control tokens in an earlier answer are text": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a result of a call is read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "results of several calls are read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a result may have parts": lambda answer: answer["usage"].update(prompt_tokens=1),
    "allowed tools may be left uncalled": lambda answer: first(answer)["message"].update(
        tool_calls=[{"function": {"name": "get_weather"}}]
    ),
    "complete structured output ends with stop": lambda answer: first(answer).update(finish_reason="tool_calls"),
    "a strict schema holds a format": lambda answer: first(answer)["message"].update(content='{"d": "today"}'),
    "a strict schema may be recursive": lambda answer: first(answer)["message"].update(content='{"first": {}}'),
    "a completion has the shape of the sdk": lambda answer: answer.update(object="chat.completion"),
    "a completion adds up": lambda answer: answer["usage"].update(total_tokens=1),
    "several prompts have a choice each": lambda answer: answer.update(choices=answer["choices"][:1]),
    "a completion has log probabilities": lambda answer: first(answer)["logprobs"].update(tokens=[]),
}
"""What becomes of a plain answer."""

STREAMS: dict[str, Callable[[Any], object]] = {
    "n streams that many choices": lambda chunks: [
        choice["delta"].pop("role", None) for chunk in chunks for choice in chunk["choices"] if choice["index"] == 1
    ],
    "chunks have the shape of the sdk": lambda chunks: chunks[1].pop("model"),
    "chunks have one id and one time": lambda chunks: chunks[1].update(id="another"),
    "the first delta has the role": lambda chunks: first(chunks[0])["delta"].pop("role"),
    "one chunk has the finish reason": lambda chunks: first(chunks[0]).update(finish_reason="stop"),
    "usage is null before": lambda chunks: chunks[0].pop("usage"),
    "no usage comes unasked": lambda chunks: chunks[0].update(usage={"total_tokens": 1}),
    "what only begins like a stop text is said": lambda chunks: first(chunks[1])["delta"].update(content="a"),
    "streamed reasoning is not content": lambda chunks: first(chunks[1])["delta"].update(content="<think>a"),
    "a strict schema holds in a stream": lambda chunks: first(chunks[1])["delta"].update(content='{"c": "green"}'),
    "a streamed completion is the plain one": lambda chunks: first(chunks[1]).update(text="more"),
    "a stream says what a plain answer says": lambda chunks: first(chunks[1])["delta"].update(content="else"),
}
"""What becomes of the chunks of a stream."""
