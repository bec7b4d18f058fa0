"""Log-likelihoods of continuations: as a server reports them, and as llama.cpp computes them for the same tokens."""

import json
from pathlib import Path
from typing import NamedTuple

import httpx
from plain_llama import text_logprobs
from running_server import PATIENCE, RunningServer

FILE = Path(__file__).parent / "e2e/clients/continuations.jsonl"
DOCUMENTS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
TOLERANCE = 0.01
"""Largest difference of a token's log probability."""
EXACT = ("--extra-buffers", "off", "--flash-attention", "off")
"""Options of a server that computes with the kernels of the reference: others round differently."""


class Continuation(NamedTuple):
    """Tokens of a document, and the number of those that are its context."""

    tokens: list[int]
    context: int


def continuations(server: RunningServer, model: str) -> list[Continuation]:
    """Return the documents in tokens, cut where lm-evaluation-harness cuts them.

    They begin with the begin-of-text token where the model wants one: without it rounding decides what Gemma computes.
    """
    with httpx.Client(base_url=server.base_url, timeout=PATIENCE) as client:

        def tokens(text: str) -> list[int]:
            asked = {"model": model, "prompt": text, "add_special_tokens": True}
            found: list[int] = client.post("/tokenize", json=asked).raise_for_status().json()["tokens"]
            return found

        return [
            Continuation(tokens(each["context"] + each["continuation"]), len(tokens(each["context"])))
            for each in DOCUMENTS
        ]


def reported(server: RunningServer, model: str, documents: list[Continuation]) -> list[list[float]]:
    """Return the log probabilities of the tokens of each continuation, requested as lm-evaluation-harness does."""
    asked = {"model": model, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True, "seed": 1234}
    found = []
    with httpx.Client(base_url=server.base_url, timeout=PATIENCE) as client:
        for document in documents:
            answer = client.post("/completions", json={**asked, "prompt": [document.tokens]}).raise_for_status()
            (choice,) = answer.json()["choices"]
            assert len(choice["logprobs"]["token_logprobs"]) == len(document.tokens) + 1
            found.append(choice["logprobs"]["token_logprobs"][document.context : -1])
    return found


def computed(path: str, documents: list[Continuation], *, exact: bool = True) -> list[list[float]]:
    """Return the log probabilities of the tokens of each continuation, computed by llama.cpp alone.

    `exact`: with the kernels of the reference, otherwise with those that llama.cpp chooses by default.
    """
    every = text_logprobs(path, *(document.tokens for document in documents), exact=exact)
    return [values[document.context - 1 :] for values, document in zip(every, documents, strict=True)]


def largest_difference(found: list[list[float]], expected: list[list[float]]) -> float:
    """Return the largest difference of two log probabilities of one token."""
    pairs = [pair for some, other in zip(found, expected, strict=True) for pair in zip(some, other, strict=True)]
    return max(abs(one - other) for one, other in pairs)
