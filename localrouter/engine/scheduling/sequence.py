"""A sequence: one request inside the engine, its tokens, and how many of them are computed."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.generation_request import Sampling
from localrouter.engine.grammar.constraint import Constraint
from localrouter.engine.messages import Progress, Timings, TokenUsage
from localrouter.engine.output.output import Output
from localrouter.engine.output.reasoning_budget import Budget, Reading
from localrouter.engine.sampling.banned_ends import BannedEnds
from localrouter.engine.sampling.chain_params import ChainParams, chain_params_of
from localrouter.engine.sampling.penalties import Penalties
from localrouter.engine.sampling.sampler import Allowed, rng_of
from localrouter.engine.scheduling.prompt_scores import PromptScores


class SequenceState(Enum):
    """State of a sequence, changed by the scheduler only."""

    WAITING = auto()
    """The sequence holds no slot and no cells: it is new, or was preempted."""
    RUNNING = auto()
    """The sequence holds a slot, and its tokens are computed step by step: first prefill, then decoding."""
    ENDED = auto()
    """The sequence has finished, failed or was cancelled."""


@dataclass(slots=True, eq=False)
class Sequence:
    """The tokens of a request, prompt and output. The next token is sampled from the logits of the last one."""

    id: int
    tokens: list[int]
    max_tokens: int
    """Largest number of output tokens."""
    sampling: Sampling
    constraint: Constraint | None = None
    """State of the grammar that the output obeys, if any."""
    reading: Reading = field(default_factory=Reading)
    """Splits the output into text, reasoning and tool calls."""
    reasoning_budget: Budget | None = None
    """Ends the reasoning when its tokens are used up; None for no limit."""
    delimiters: frozenset[int] = frozenset()
    """Special tokens whose text is part of the output; that of all others is left out."""
    banned_ends: BannedEnds | None = None
    """End tokens that must not be sampled yet; None for an output that may end at any token."""
    reports_progress: bool = False
    """Whether the events of this sequence have its progress."""
    state: SequenceState = SequenceState.WAITING
    slot: int = -1
    """Slot of the KV cache; -1 while waiting."""
    computed: int = 0
    """Number of leading tokens whose keys and values are in the cache."""
    cached: int = 0
    """Number of prompt tokens that were in the cache when the sequence started, and were not computed for it."""
    has_computed: bool = False
    """Whether any token was ever computed for this sequence."""
    chunk_boundaries: set[int] = field(default_factory=set)
    """Numbers of tokens after which a chunk ends: a checkpoint is wanted there, or another prompt parts there."""
    leader: "Sequence | None" = None
    """While waiting: a running sequence in prefill, whose first `shared` tokens this one will reuse."""
    shared: int = 0
    """Number of tokens shared with `leader`."""
    prompt_logprobs: int | None = None
    """Number of the likeliest tokens reported in the place of each prompt token; None: no logprobs of the prompt."""
    lists_silent: bool = False
    """Whether tokens without text are reported with their log probabilities too."""
    started: float | None = None
    """Time at which the first step with tokens of this sequence began, in seconds of `perf_counter`."""
    first_sampled: float | None = None
    """Time of the first sampled token."""
    last_sampled: float | None = None
    """Time of the latest sampled token."""
    created: float = field(init=False, default_factory=perf_counter)
    """Time at which this sequence was created."""
    prompt_tokens: int = field(init=False)
    """Number of tokens of the prompt."""
    rng: np.random.Generator = field(init=False)
    """Random numbers of this sequence alone, so that other requests in a batch cannot change its output."""
    penalties: Penalties = field(init=False)
    """Penalties and logit bias. They count `tokens` as it grows, so the list must not be replaced."""
    output: Output = field(init=False)
    """Turns output tokens into text."""
    chain_params: ChainParams | None = field(init=False)
    """Parameters with which a backend may sample this sequence by itself; None if only the sampler can."""
    prompt_scores: PromptScores | None = field(init=False)
    """Progress of the prompt's log probabilities; None where the request does not ask for them."""

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        self.rng = rng_of(self.sampling.seed)
        self.penalties = Penalties(self.sampling, self.tokens)
        self.output = Output(self.sampling, self.reading)
        asks = self.prompt_logprobs
        self.prompt_scores = None if asks is None else PromptScores(asks, self.prompt_tokens)
        needs_logits = self.constraint or self.reasoning_budget or self.prompt_scores
        self.chain_params = None if needs_logits else chain_params_of(self.sampling)

    @property
    def pending(self) -> int:
        """Number of tokens that are not in the cache yet."""
        return len(self.tokens) - self.computed

    @property
    def until_boundary(self) -> int:
        """Number of pending tokens up to the next chunk boundary, or to the end if there is none."""
        return min([self.pending, *(end - self.computed for end in self.chunk_boundaries if end > self.computed)])

    @property
    def reusable_tokens(self) -> list[int]:
        """Tokens to look for in the cache, whose last one is computed in any case.

        A prompt token that has yet to be reported with its log probability needs the logits of the row before it, so
        this row and those after it are computed.
        """
        scores = self.prompt_scores
        return self.tokens if scores is None or scores.is_complete else self.tokens[: scores.first_row + 1]

    @property
    def completion_tokens(self) -> int:
        """Number of tokens sampled so far, the end token included."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def usage(self) -> TokenUsage:
        """Token usage so far."""
        return TokenUsage(self.prompt_tokens, self.completion_tokens, self.cached, self.reading.reasoning_tokens)

    @property
    def timings(self) -> Timings:
        """Durations so far."""
        started = self.created if self.started is None else self.started
        first = started if self.first_sampled is None else self.first_sampled
        last = first if self.last_sampled is None else self.last_sampled
        return Timings(1000 * (started - self.created), 1000 * (first - started), 1000 * (last - first))

    @property
    def progress(self) -> Progress | None:
        """Token usage and durations so far, where the request wants them."""
        return Progress(self.usage, self.timings) if self.reports_progress else None

    @property
    def banned(self) -> NDArray[np.intp] | None:
        """Tokens that must not come next, unless no others can; None for none."""
        return None if self.banned_ends is None else self.banned_ends.after(self.completion_tokens)

    def append(self, token: int) -> None:
        """Add a sampled token to the output."""
        self.tokens.append(token)
        self.last_sampled = perf_counter()
        if self.first_sampled is None:
            self.first_sampled = self.last_sampled

    @property
    def is_decoding(self) -> bool:
        """Whether all tokens but the last sampled one are in the cache."""
        return self.pending == 1 and self.completion_tokens > 0

    def next_allowed(self) -> Allowed:
        """Return the tokens that may come next, to be called once per token. Raises GrammarFailed."""
        forced = self.reasoning_budget.next(self._allows) if self.reasoning_budget else None
        if forced is not None or self.constraint is None:
            return forced
        return self.constraint.allowed()

    def _allows(self, tokens: Collection[int]) -> bool:
        """Return whether these tokens can come next: not inside a character, and only as the grammar allows."""
        return self.output.is_whole and (self.constraint is None or self.constraint.allows(tokens))
