"""One request inside the engine: its tokens, how far they are computed, and how it ends."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from localrouter.engine.grammar.constraint import Constraint
from localrouter.engine.messages import Sampling, TokenUsage
from localrouter.engine.output.output import Output
from localrouter.engine.output.reasoning_budget import Budget, Reading
from localrouter.engine.sampling.chain_params import ChainParams, chain_params_of
from localrouter.engine.sampling.penalties import Penalties
from localrouter.engine.sampling.sampler import Allowed, rng_of


class SequenceState(Enum):
    """Where a sequence stands. `Scheduler` is the only one that moves it."""

    WAITING = auto()
    """It holds no slot and no cells: new, or set back because cells ran out."""
    RUNNING = auto()
    """It holds a slot; its tokens are computed step by step."""
    ENDED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """The prompt and what was sampled after it.

    `computed` counts the leading tokens whose keys and values are in the cache. The next token is sampled from the
    logits of the last pending one.
    """

    id: int
    tokens: list[int]
    max_tokens: int
    sampling: Sampling
    constraint: Constraint | None = None
    """Where it stands in the grammar that it obeys."""
    reading: Reading = field(default_factory=Reading)
    """What tells reasoning and tool calls from text in its output."""
    budget: Budget | None = None
    """What ends its reasoning."""
    delimiters: frozenset[int] = frozenset()
    """Control tokens whose text is said."""
    state: SequenceState = SequenceState.WAITING
    slot: int = -1
    """The id that llama.cpp knows it by; -1 while it holds none."""
    computed: int = 0
    cached: int = 0
    """Prompt tokens that it never had to compute: they were in the cache already when it started."""
    has_computed: bool = False
    """Whether some of its tokens were ever computed for it."""
    chunk_boundaries: set[int] = field(default_factory=set)
    """Numbers of tokens that others wait for, or at which a copy of the recurrent state is wanted: chunks end there."""
    leader: "Sequence | None" = None
    """While it waits: whose prompt begins alike and is being read, as far as `shared`."""
    shared: int = 0
    prompt_tokens: int = field(init=False)
    rng: np.random.Generator = field(init=False)
    """Its own source of randomness, so that batch mates cannot change its text."""
    penalties: Penalties = field(init=False)
    """Its penalties and bias; it counts `tokens` as they come, so this stays the same list."""
    answer: Output = field(init=False)
    chain_params: ChainParams | None = field(init=False)
    """What a backend may draw its tokens by itself by; None where that is for the sampler."""

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        self.rng = rng_of(self.sampling.seed)
        self.penalties = Penalties(self.sampling, self.tokens)
        self.answer = Output(self.sampling, self.reading)
        self.chain_params = None if self.constraint or self.budget else chain_params_of(self.sampling)

    @property
    def pending(self) -> int:
        """Tokens that are not in the cache yet."""
        return len(self.tokens) - self.computed

    @property
    def until_boundary(self) -> int:
        """Tokens until the next stop, or until all are computed."""
        return min([self.pending, *(end - self.computed for end in self.chunk_boundaries if end > self.computed)])

    @property
    def completion_tokens(self) -> int:
        """Tokens sampled so far, the end token included."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def usage(self) -> TokenUsage:
        """What the request has used so far."""
        return TokenUsage(self.prompt_tokens, self.completion_tokens, self.cached, self.reading.reasoning_tokens)

    @property
    def is_decoding(self) -> bool:
        """Whether everything but the last sampled token is in the cache."""
        return self.pending == 1 and self.completion_tokens > 0

    def next_allowed(self) -> Allowed:
        """Return what may come next; asked once for each token. Raises GrammarFailed."""
        written = self.budget.next(self._allows) if self.budget else None
        if written is not None or self.constraint is None:
            return written
        return self.constraint.allowed()

    def _allows(self, tokens: Collection[int]) -> bool:
        """Whether these tokens can stand here: not inside a character, nor against the grammar."""
        return self.answer.is_whole and (self.constraint is None or self.constraint.allows(tokens))
