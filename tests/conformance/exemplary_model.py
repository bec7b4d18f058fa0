"""What the exemplary server's model says: the alphabet, a token for each character.

It obeys schemas by taking the first value that they allow, and thinks when it is told to make an effort.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

from exemplary_rules import MODEL, Json, allowed

ALPHABET = "abcdefghijklmnopqrstuvwxyz" * 2
THOUGHT = "Well."
KEPT = {"^[ab]{2}$": "ab"}
"""A string for each pattern that is asked for."""
_numbers = count(1)


def example(schema: Json, root: Json) -> Any:
    """The first value that a schema allows; of alternatives the last."""
    if "$ref" in schema:
        return example(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return example(schema["anyOf"][-1], root)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date":
        return "2000-01-01"
    match schema.get("type"):
        case "boolean":
            return True
        case "null":
            return None
        case "integer":
            return schema["minimum"]
        case "string":
            return KEPT[schema["pattern"]]
        case "array":
            return [example(schema["items"], root)] * schema["minItems"]
    return {name: example(inner, root) for name, inner in schema.get("properties", {}).items()}


def says(body: Json) -> str:
    """What the model would say without limits."""
    form = body.get("response_format", {"type": "text"})
    if form["type"] == "json_object":
        return "{}"
    if form["type"] == "json_schema":
        schema = form["json_schema"]["schema"]
        return json.dumps(example(schema, schema))
    biases = {token: bias for token, bias in (body.get("logit_bias") or {}).items() if bias > 50}
    if biases:
        return forced(biases, body.get("frequency_penalty", 0))
    return ALPHABET


def forced(biases: dict[str, float], penalty: float) -> str:
    """The tokens with the largest biases, each use of one being punished."""
    said: Counter[str] = Counter()
    text = ""
    for _ in range(50):
        token = max(biases, key=lambda each: biases[each] - penalty * said[each])
        said[token] += 1
        text += chr(ord("A") + int(token) % 26)
    return text


def called(body: Json) -> Json | None:
    """The tool that has to be called."""
    choice = body.get("tool_choice")
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or []}
    if isinstance(choice, dict) and choice.get("allowed_tools", {}).get("mode") != "auto":
        return dict(tools[next(allowed(choice))])
    return dict(next(iter(tools.values()))) if choice == "required" else None


def call(function: Json) -> Json:
    """A call of a function."""
    schema = function.get("parameters", {})
    return {"name": function["name"], "arguments": json.dumps(example(schema, schema))}


def make_choice(body: Json, index: int) -> tuple[Json, int]:
    """One choice, and how many tokens it took."""
    message: Json = {"role": "assistant", "content": None, "rejection": None}
    function = called(body)
    if function:
        made = {"id": f"call_{next(_numbers)}", "type": "function", "function": call(function)}
        message["tool_calls"] = [made]
        return {"index": index, "message": message, "finish_reason": "tool_calls", "logprobs": None}, 5
    if isinstance(body.get("function_call"), dict):
        message["function_call"] = call(body["functions"][0])
        return {"index": index, "message": message, "finish_reason": "stop", "logprobs": None}, 5
    text, reason, thought = cut(says(body), body)
    message["content"] = text
    if thought:
        message["reasoning_content"] = THOUGHT[:thought]
    logprobs = {"content": [entry(char, body.get("top_logprobs", 0)) for char in text], "rejection": None}
    choice = {"index": index, "message": message, "finish_reason": reason}
    return {**choice, "logprobs": logprobs if body.get("logprobs") else None}, max(1, len(text) + thought)


def cut(whole: str, body: Json) -> tuple[str, str, int]:
    """The text within the limits of a request, why it ended, and the tokens of thoughts before it."""
    limit = min(body.get("max_tokens", 100), body.get("max_completion_tokens", 100))
    thought = min(limit, len(THOUGHT)) if body.get("reasoning_effort") == "high" else 0
    text = whole[: limit - thought]
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    cuts = [text.index(stop) for stop in stops if stop in text]
    if cuts:
        return text[: min(cuts)], "stop", thought
    return text, "length" if len(whole) > len(text) else "stop", thought


def entry(char: str, top: int) -> Json:
    inner = {"token": char, "logprob": -0.5, "bytes": [*char.encode()]}
    return {**inner, "top_logprobs": [inner] * top}


def head(kind: str, name: str) -> Json:
    number = next(_numbers)
    same = {"created": int(time.time()), "model": MODEL, "system_fingerprint": "fp"}
    return {"id": f"{name}-{number}", "object": kind, **same}


def usage(prompt: int, completion: int, thought: int = 0) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def complete(body: Json) -> Json:
    """The plain answer to a chat."""
    made = [make_choice(body, index) for index in range(body.get("n", 1))]
    prompt = sum(4 + len(json.dumps(message)) for message in body["messages"]) + len(json.dumps(body.get("tools")))
    thought = sum(len(choice["message"].get("reasoning_content", "")) for choice, _ in made)
    used = usage(prompt, sum(tokens for _, tokens in made), thought)
    return {**head("chat.completion", "chatcmpl"), "choices": [choice for choice, _ in made], "usage": used}


def chunks(body: Json) -> Iterator[Json]:
    """The streamed answer to a chat."""
    answer = complete(body)
    with_usage = (body.get("stream_options") or {}).get("include_usage")
    same = {name: answer[name] for name in ("id", "created", "model", "system_fingerprint")}
    same |= {"object": "chat.completion.chunk"} | ({"usage": None} if with_usage else {})
    for choice in answer["choices"]:
        message, index = choice["message"], {"index": choice["index"]}
        deltas: list[Json] = [{"role": "assistant", "content": ""}, {"content": message["content"]}]
        for made in message.get("tool_calls") or []:
            deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **made}]}]
        for delta in deltas:
            logprobs = choice["logprobs"] if delta.get("content") else None
            yield {**same, "choices": [{**index, "delta": delta, "logprobs": logprobs, "finish_reason": None}]}
        yield {**same, "choices": [{**index, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    if with_usage:
        yield {**same, "choices": [], "usage": answer["usage"]}


def complete_text(body: Json) -> Json:
    """The plain answer to a legacy completion."""
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    choices, used = [], 0
    for index, prompt in enumerate(prompts):
        text, reason, _ = cut(ALPHABET, body)
        used += len(text)
        chars = [*text]
        logprobs = {"tokens": chars, "token_logprobs": [-0.5] * len(chars), "text_offset": [*range(len(chars))]}
        logprobs["top_logprobs"] = [{char: -0.5} for char in chars]
        shown = (prompt if body.get("echo") else "") + text
        told = logprobs if body.get("logprobs") else None
        choices.append({"index": index, "text": shown, "finish_reason": reason, "logprobs": told})
    total = usage(sum(map(len, prompts)), used)
    return {**head("text_completion", "cmpl"), "choices": choices, "usage": total}


def text_chunks(body: Json) -> Iterator[Json]:
    """The streamed answer to a legacy completion: a chunk with text, and one that says why it ended."""
    answer = complete_text(body)
    same = {name: answer[name] for name in ("id", "object", "created", "model", "system_fingerprint")}
    for choice in answer["choices"]:
        yield {**same, "choices": [{**choice, "finish_reason": None}]}
        yield {**same, "choices": [{**choice, "text": ""}]}
