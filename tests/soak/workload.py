"""Random requests: their prompts, sampling parameters, times of arrival and of cancellation. Pure.

All of it follows from a seed before the run. A prompt that continues the conversation of an earlier request has the
number of that request, because its output is known only when the prompt arrives.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from localrouter.engine.generation_request import Sampling

SYSTEMS = 4
"""Number of system prompts that requests share."""
RECENT = 30
"""A prompt continues the conversation of one of the last so many requests."""
MAX_TOKENS = 64
"""Largest `max_tokens` of a request."""
LONG_PAUSE = 400
"""Steps of a pause in which all running requests end."""


class Length(Enum):
    """Length of a prompt relative to the context."""

    FITTING = auto()
    FULL = auto()
    """The prompt leaves room for a few tokens of output."""
    TOO_LONG = auto()
    EMPTY = auto()


@dataclass(frozen=True)
class Words:
    """The tokens that prompts are made of."""

    text: range
    end: int
    """The token that ends a message."""


@dataclass(frozen=True)
class Prompt:
    """How a prompt is composed: from a shared prefix and tokens of its own."""

    seed: int
    own: int
    """Number of tokens after the shared prefix."""
    scale: float = 1
    """Factor of the lengths of system prompts."""
    system: int | None = None
    """Number of the system prompt that the prompt begins with; None for none."""
    base: int | None = None
    """Number of the request whose conversation the prompt begins with; None for none."""
    kept: float = 1.0
    """Share of that conversation that the prompt begins with; 1: all, followed by the next message."""
    length: Length = Length.FITTING


@dataclass(frozen=True)
class Request:
    """One request. Several requests of one step may have the same prompt."""

    number: int
    step: int
    """The step before which the request arrives."""
    prompt: Prompt
    sampling: Sampling
    max_tokens: int
    patience: int | None
    """Number of steps after the arrival until the request is cancelled; None for never."""

    @property
    def is_greedy(self) -> bool:
        """Whether the output is the most likely tokens, without penalties or bias."""
        return self.sampling == Sampling(temperature=0, seed=self.sampling.seed, logprobs=self.sampling.logprobs)


def requests(seed: int, count: int, words: Words, scale: float = 1) -> list[Request]:
    """Return `count` requests in the order of arrival, numbered from 0. `scale` is a factor of all lengths."""
    rng = random.Random(seed)
    made: list[Request] = []
    step = 0
    while len(made) < count:
        step += _gap(rng)
        prompt = _prompt(rng, len(made), scale)
        copies = rng.randint(2, 8) if rng.random() < 0.12 else 1
        for number in range(len(made), min(len(made) + copies, count)):
            patience = None if rng.random() < 0.75 else rng.choice([0, 1, 2, rng.randint(0, 80)])
            sampling, max_tokens = _sampling(rng, words), rng.randint(1, _scaled(MAX_TOKENS, scale))
            made.append(Request(number, step, prompt, sampling, max_tokens, patience))
    return made


def compose(prompt: Prompt, conversations: Mapping[int, Sequence[int]], words: Words, context: int) -> list[int]:
    """Return the tokens of a prompt, given those of all earlier conversations by request number."""
    if prompt.length is Length.EMPTY:
        return []
    rng = random.Random(prompt.seed)
    tokens: list[int] = []
    if prompt.system is not None:
        tokens = system_prompt(prompt.system, words, prompt.scale)
    if prompt.base is not None:
        earlier = conversations[prompt.base]
        tokens = list(earlier[: round(prompt.kept * len(earlier))])[: 2 * context // 3]
    if prompt.kept == 1 and tokens and tokens[-1] != words.end:
        tokens.append(words.end)
    own = rng.choices(words.text, k=prompt.own)
    if len(own) > 4:
        own[rng.randrange(1, len(own) - 1)] = words.end
    tokens += own
    return _stretched(tokens, prompt.length, rng, words, context)


def system_prompt(number: int, words: Words, scale: float = 1) -> list[int]:
    """Return the tokens of a system prompt, which are the same in every run."""
    rng = random.Random(number)
    return [*rng.choices(words.text, k=_scaled(rng.randint(20, 400), scale)), words.end]


def _stretched(tokens: list[int], length: Length, rng: random.Random, words: Words, context: int) -> list[int]:
    longest = context - 1
    if length is Length.FULL:
        longest -= rng.randrange(4)
    wanted = {Length.FULL: longest, Length.TOO_LONG: context + rng.randrange(100)}.get(length, 0)
    tokens += rng.choices(words.text, k=max(0, wanted - len(tokens)))
    return tokens if length is Length.TOO_LONG else tokens[:longest]


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def _gap(rng: random.Random) -> int:
    """Return the steps since the previous request: bursts, a steady stream, and rarely a pause in which all end."""
    chance = rng.random()
    if chance < 0.01:
        return LONG_PAUSE
    return 0 if chance < 0.55 else rng.randint(1, 8)


def _prompt(rng: random.Random, before: int, scale: float) -> Prompt:
    seed, own = rng.randrange(1 << 32), _scaled(_own(rng), scale)
    chance = rng.random()
    length = rng.choices([*Length], weights=[96, 2, 1, 1])[0]
    if chance < 0.12:
        return Prompt(seed, own, scale, length=length)
    if chance < 0.45 or not before:
        return Prompt(seed, own, scale, system=rng.randrange(SYSTEMS), length=length)
    kept = 1.0 if rng.random() < 0.6 else rng.random()
    return Prompt(seed, own, scale, base=rng.randrange(max(0, before - RECENT), before), kept=kept, length=length)


def _own(rng: random.Random) -> int:
    """Return a length: mostly short, sometimes about a chunk, rarely several chunks."""
    shortest, longest = rng.choices([(1, 40), (1, 192), (200, 1000)], weights=[75, 20, 5])[0]
    return rng.randint(shortest, longest)


def _sampling(rng: random.Random, words: Words) -> Sampling:
    seed = rng.randrange(1 << 32)
    logprobs = rng.choice([None, None, None, 0, 1, 5, 20])
    if rng.random() < 0.4:
        return Sampling(temperature=0, seed=seed, logprobs=logprobs)
    return Sampling(
        temperature=rng.choice([0.0, 0.3, 0.7, 1.0, 1.5, 2.0, rng.uniform(0, 2)]),
        top_p=rng.choice([1.0, 1.0, 0.95, 0.5, 0.0, rng.random()]),
        seed=seed,
        top_k=rng.choice([0, 0, 1, 20, 64, rng.randint(1, 5000)]),
        min_p=rng.choice([0.0, 0.0, 0.05, 1.0, rng.random()]),
        presence_penalty=rng.choice([0.0, 0.0, rng.uniform(-2, 2)]),
        frequency_penalty=rng.choice([0.0, 0.0, rng.uniform(-2, 2)]),
        repeat_penalty=rng.choice([1.0, 1.0, rng.uniform(0.5, 2)]),
        logit_bias=_bias(rng, words),
        logprobs=logprobs,
    )


def _bias(rng: random.Random, words: Words) -> dict[int, float]:
    """Return a logit bias, often towards the end of the message, because random models rarely sample that."""
    bias = {rng.choice(words.text): rng.choice([-100.0, 100.0, rng.uniform(-5, 5)]) for _ in range(rng.choice([0, 3]))}
    if rng.random() < 0.4:
        bias[words.end] = rng.uniform(0, 12)
    return bias
