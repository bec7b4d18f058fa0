"""Random requests: which prompt, how sampled, when they come and when whoever asked has lost patience. Pure.

Everything comes from a seed before anything runs. Only what a prompt goes on from is told by a number: the conversation
of an earlier request, with as much of an answer as there is when the prompt arrives.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from localrouter.engine.messages import Sampling

SYSTEMS = 4
"""System prompts that requests share."""
RECENT = 30
"""A conversation goes on from one of the last so many requests."""
MOST_TOKENS = 64
LONG_PAUSE = 400
"""Steps in which everything that runs ends."""


class Length(Enum):
    """How long a prompt is beside the context."""

    FITTING = auto()
    FULL = auto()
    """It leaves room for a few tokens."""
    TOO_LONG = auto()
    EMPTY = auto()


@dataclass(frozen=True)
class Words:
    """The tokens that prompts are made of."""

    text: range
    end: int
    """Ends a turn."""


@dataclass(frozen=True)
class Prompt:
    """What a prompt begins with, and what is its own."""

    seed: int
    own: int
    """Tokens of its own."""
    scale: float = 1
    """Of the system prompts' lengths."""
    system: int | None = None
    """It begins with this system prompt."""
    base: int | None = None
    """It begins like the conversation of this request."""
    kept: float = 1.0
    """How much of that conversation it keeps; 1: all, and the next turn follows."""
    length: Length = Length.FITTING


@dataclass(frozen=True)
class Request:
    """One request. Simultaneous copies have the same prompt."""

    number: int
    step: int
    """It arrives before this step."""
    prompt: Prompt
    sampling: Sampling
    max_tokens: int
    patience: int | None
    """Steps after its arrival until it is cancelled; None: never."""

    @property
    def is_greedy(self) -> bool:
        """Whether its answer is the likeliest tokens of the model itself."""
        return self.sampling == Sampling(temperature=0, seed=self.sampling.seed, logprobs=self.sampling.logprobs)


def requests(seed: int, count: int, words: Words, scale: float = 1) -> list[Request]:
    """Return so many requests in the order in which they arrive, numbered from 0. `scale` shortens all lengths."""
    draw = random.Random(seed)
    made: list[Request] = []
    step = 0
    while len(made) < count:
        step += _gap(draw)
        prompt = _prompt(draw, len(made), scale)
        copies = draw.randint(2, 8) if draw.random() < 0.12 else 1
        for number in range(len(made), min(len(made) + copies, count)):
            patience = None if draw.random() < 0.75 else draw.choice([0, 1, 2, draw.randint(0, 80)])
            sampling, most = _sampling(draw, words), draw.randint(1, _scaled(MOST_TOKENS, scale))
            made.append(Request(number, step, prompt, sampling, most, patience))
    return made


def compose(prompt: Prompt, conversations: Mapping[int, Sequence[int]], words: Words, context: int) -> list[int]:
    """Return the tokens of a prompt, given those of all conversations so far."""
    if prompt.length is Length.EMPTY:
        return []
    draw = random.Random(prompt.seed)
    tokens: list[int] = []
    if prompt.system is not None:
        tokens = system_prompt(prompt.system, words, prompt.scale)
    if prompt.base is not None:
        earlier = conversations[prompt.base]
        tokens = list(earlier[: round(prompt.kept * len(earlier))])[: 2 * context // 3]
    if prompt.kept == 1 and tokens and tokens[-1] != words.end:
        tokens.append(words.end)
    own = draw.choices(words.text, k=prompt.own)
    if len(own) > 4:
        own[draw.randrange(1, len(own) - 1)] = words.end
    tokens += own
    return _stretched(tokens, prompt.length, draw, words, context)


def system_prompt(number: int, words: Words, scale: float = 1) -> list[int]:
    """Return a beginning that many prompts share, whatever the seed of a run."""
    draw = random.Random(number)
    return [*draw.choices(words.text, k=_scaled(draw.randint(20, 400), scale)), words.end]


def _stretched(tokens: list[int], length: Length, draw: random.Random, words: Words, context: int) -> list[int]:
    longest = context - 1
    if length is Length.FULL:
        longest -= draw.randrange(4)
    wanted = {Length.FULL: longest, Length.TOO_LONG: context + draw.randrange(100)}.get(length, 0)
    tokens += draw.choices(words.text, k=max(0, wanted - len(tokens)))
    return tokens if length is Length.TOO_LONG else tokens[:longest]


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def _gap(draw: random.Random) -> int:
    """Steps since the request before: bursts, a steady stream, and now and then a pause in which all end."""
    chance = draw.random()
    if chance < 0.01:
        return LONG_PAUSE
    return 0 if chance < 0.55 else draw.randint(1, 8)


def _prompt(draw: random.Random, before: int, scale: float) -> Prompt:
    seed, own = draw.randrange(1 << 32), _scaled(_own(draw), scale)
    chance = draw.random()
    length = draw.choices([*Length], weights=[96, 2, 1, 1])[0]
    if chance < 0.12:
        return Prompt(seed, own, scale, length=length)
    if chance < 0.45 or not before:
        return Prompt(seed, own, scale, system=draw.randrange(SYSTEMS), length=length)
    kept = 1.0 if draw.random() < 0.6 else draw.random()
    return Prompt(seed, own, scale, base=draw.randrange(max(0, before - RECENT), before), kept=kept, length=length)


def _own(draw: random.Random) -> int:
    """Mostly short, some about as long as a chunk, a few of several chunks."""
    shortest, longest = draw.choices([(1, 40), (1, 192), (200, 1000)], weights=[75, 20, 5])[0]
    return draw.randint(shortest, longest)


def _sampling(draw: random.Random, words: Words) -> Sampling:
    seed = draw.randrange(1 << 32)
    logprobs = draw.choice([None, None, None, 0, 1, 5, 20])
    if draw.random() < 0.4:
        return Sampling(temperature=0, seed=seed, logprobs=logprobs)
    return Sampling(
        temperature=draw.choice([0.0, 0.3, 0.7, 1.0, 1.5, 2.0, draw.uniform(0, 2)]),
        top_p=draw.choice([1.0, 1.0, 0.95, 0.5, 0.0, draw.random()]),
        seed=seed,
        top_k=draw.choice([0, 0, 1, 20, 64, draw.randint(1, 5000)]),
        min_p=draw.choice([0.0, 0.0, 0.05, 1.0, draw.random()]),
        presence_penalty=draw.choice([0.0, 0.0, draw.uniform(-2, 2)]),
        frequency_penalty=draw.choice([0.0, 0.0, draw.uniform(-2, 2)]),
        repeat_penalty=draw.choice([1.0, 1.0, draw.uniform(0.5, 2)]),
        logit_bias=_bias(draw, words),
        logprobs=logprobs,
    )


def _bias(draw: random.Random, words: Words) -> dict[int, float]:
    """Now and then towards the end of the turn, for random models hardly ever end by themselves."""
    bias = {
        draw.choice(words.text): draw.choice([-100.0, 100.0, draw.uniform(-5, 5)]) for _ in range(draw.choice([0, 3]))
    }
    if draw.random() < 0.4:
        bias[words.end] = draw.uniform(0, 12)
    return bias
