"""Random requests on one engine with one cache, with faults, and everything checked after each step."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.kv_cache.operations import Clear, Discard, Forget, Store
from localrouter.engine.messages import Generate, LoadOptions
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.sequence import Sequence

from .faults import Faults
from .ledger import Ledger, Record
from .tally import Tally
from .workload import Request, Words, compose, requests

TILE, SLOWER = 64, 4
"""Fewer rows than a tile take so many times longer each: in a step with a few of them, padding pays."""
STALL = 300
"""Steps without a token and without an end after which nothing goes on any more."""


@dataclass(frozen=True)
class Setting:
    """The cache and the speed of a part of a run."""

    cells: int
    sequences: int
    flash_attention: bool
    windows: bool
    """Sliding layers hold their windows only."""
    state_bytes: int
    idle_share: float
    """Of all cells: how much may be held for nobody."""
    host_store_cells: int
    """Cells of ended conversations that are kept outside the cache, where this is possible."""
    row_seconds: float
    """What a row seems to take: decides how prompts are cut."""
    context: int = 1100
    scale: float = 1
    """Of the lengths of prompts and answers, beside those for a context of 1,100 tokens."""
    together: int = 7
    """Rows of an answer that are computed at once where it is judged."""

    @property
    def options(self) -> LoadOptions:
        """How the backend is loaded."""
        return LoadOptions(
            threads=1,
            extra_buffers="off",
            cells=self.cells,
            context=self.context,
            max_sequences=self.sequences,
            flash_attention="on" if self.flash_attention else "off",
            swa_full="off" if self.windows else "on",
        )


SETTINGS = (
    Setting(1280, 8, False, True, 2 << 20, 0.5, 1500, 1e-4),
    Setting(1280, 24, True, False, 64 << 20, 1 / 16, 8000, 2e-2),
    Setting(1536, 4, True, True, 64 << 20, 0.25, 0, 1e-3),
    Setting(4096, 6, False, False, 4 << 20, 1 / 16, 4000, 3e-3),
)


class Part:
    """Some requests on one engine."""

    def __init__(self, backend: LlamaBackend, setting: Setting, seed: int, tally: Tally) -> None:
        limits = backend.limits
        backend.limits = replace(
            limits,
            state_bytes=setting.state_bytes,
            idle_cells=int(setting.idle_share * setting.cells),
            host_store_cells=min(limits.host_store_cells, setting.host_store_cells),
        )
        self.backend, self.setting, self.tally, self.seed = backend, setting, tally, seed
        self.has_scratch = limits.pads_to_tile or limits.host_store_cells > 0
        """Whether the backend has a sequence of its own behind the slots."""
        self.faults = Faults(backend, random.Random(seed))
        self.engine = Engine(backend)
        self.ledger = Ledger(backend)
        self.words = words_of(backend)
        self._make_up_time(setting.row_seconds)
        self._count_what_goes()

    def play(self, count: int) -> None:
        """Serve so many requests to their ends, then forget everything."""
        arrivals = requests(self.seed, count, self.words, self.setting.scale)[::-1]
        cancels = sorted((each.step + each.patience, each.number) for each in arrivals if each.patience is not None)
        cancels.reverse()
        now = quiet = 0
        while arrivals or not self.engine.is_idle:
            if self.engine.is_idle:
                now = max(now, arrivals[-1].step)
                self._rest()
            while arrivals and arrivals[-1].step <= now:
                self._submit(arrivals.pop())
            while cancels and cancels[-1][0] <= now:
                number = cancels.pop()[1]
                self.ledger.cancelled(number, self.engine.cancel(number))
            quiet = 0 if self._step() else quiet + 1
            assert quiet < STALL, "nothing goes on"
            now += 1
        self._check_end(count)

    def answers(self) -> Iterator[Record]:
        """Greedy answers that came to their end, those that were long set back or shared much included."""
        for record in self.ledger.records.values():
            if record.request.is_greedy and record.end and record.end.reason in ("stop", "length"):
                yield record

    def _submit(self, request: Request) -> None:
        conversations = {number: record.tokens for number, record in self.ledger.records.items()}
        tokens = compose(request.prompt, conversations, self.words, self.setting.context)
        record = Record(request, len(tokens), tokens, self.setting.context)
        command = Generate(request.number, [], request.sampling, request.max_tokens, tokens=tokens)
        self.ledger.submitted(record, self.engine.submit(command))

    def _rest(self) -> None:
        """Let the engine do what it does while nobody asks for anything."""
        for _ in range(2 * self.backend.limits.slots):
            if not self.engine.run_idle_work():
                return
            self._check_cache()
        raise AssertionError("it never comes to rest")

    def _step(self) -> bool:
        """Compute a step and check everything; return whether a token was sampled or a request has ended."""
        before = (self._sampled(), len(self.ledger.open))
        self.ledger.take(self.engine.step(), self.faults.codes)
        self._check_cache()
        self.tally.steps += 1
        return before != (self._sampled(), len(self.ledger.open)) or not self.ledger.open

    def _sampled(self) -> int:
        return sum(len(self.ledger.records[number].tokens) for number in self.ledger.open)

    def _check_cache(self) -> None:
        """Engine, slots and llama.cpp agree about who is there, and what each slot holds."""
        scheduler, slots = self.engine.scheduler, self.engine.scheduler.slots
        scheduler.check()
        assert {each.id for each in [*scheduler.running, *scheduler.waiting]} == self.ledger.open
        assert len(scheduler.running) <= self.backend.limits.running
        to_clear = {change.slot for change in slots.operations if isinstance(change, Clear)}
        to_discard = {change.checkpoint.handle for change in slots.operations if isinstance(change, Discard)}
        to_forget = {change.handle for change in slots.operations if isinstance(change, Forget)}
        to_store = {change.handle for change in slots.operations if isinstance(change, Store)}
        for slot in range(self.backend.limits.slots):
            held = slots.cache.length(slot) if slot in slots.cache else 0
            assert held == self.backend.cells_of(slot) or (not held and slot in to_clear), f"slot {slot}"
        if self.has_scratch:
            assert not self.backend.cells_of(self.backend.limits.slots), "padding and copies leave nothing"
        assert self.faults.states == slots.cache.handles | to_discard
        stored = slots.host_store.handles if slots.host_store else set()
        assert stored - to_store <= self.faults.excerpts <= stored | to_forget

    def _check_end(self, count: int) -> None:
        """Everybody got an end; and when all is forgotten, nothing is left."""
        scheduler = self.engine.scheduler
        assert len(self.ledger.records) == count
        assert not self.ledger.open
        assert all(record.end for record in self.ledger.records.values())
        while scheduler.make_room():
            pass
        self.engine.step()
        self._check_cache()
        assert scheduler.slots.cache.cells_used == scheduler.slots.cells_idle == 0
        assert not self.faults.states
        assert not self.backend._copies._states
        assert self.backend._copies._cells.keys() == self.faults.excerpts
        assert sorted(scheduler.slots._free) == [*range(self.backend.limits.slots)]
        self._count()

    def _count(self) -> None:
        tally = self.tally
        tally.ends += self.ledger.reasons()
        tally.faults += self.faults.counts
        tally.requests += len(self.ledger.records)
        usages = [record.end.usage for record in self.ledger.records.values() if record.end]
        tally.prompt_tokens += sum(usage.prompt_tokens for usage in usages)
        tally.cached_tokens += sum(usage.cached_tokens for usage in usages)

    def _make_up_time(self, row_seconds: float) -> None:
        """Let steps take as long as their rows say, so that a run is the same on any machine."""
        scheduler = self.engine.scheduler
        computed = scheduler.computed

        def made_up(batch: Batch, seconds: float = 0.0) -> list[Sequence]:
            rows = len(batch) + batch.padding
            return computed(batch, row_seconds * (rows if rows >= TILE else min(SLOWER * rows, 2 * TILE)))

        scheduler.computed = made_up  # type: ignore[method-assign]

    def _count_what_goes(self) -> None:
        """Count what the scheduler frees for others: running sequences that are set back, kept conversations."""
        scheduler = self.engine.scheduler
        preempt, clear = scheduler.preempt_newest, scheduler.slots.clear

        def setting_back() -> Sequence | None:
            sequence = preempt()
            self.tally.preempted += sequence is not None
            return sequence

        def clearing(slot: int) -> None:
            self.tally.evicted += slot in scheduler.slots._idle
            clear(slot)

        scheduler.preempt_newest = setting_back  # type: ignore[method-assign]
        scheduler.slots.clear = clearing  # type: ignore[method-assign]


def words_of(backend: LlamaBackend) -> Words:
    """Return the tokens that prompts are made of: all words, and the first of the control tokens that ends a turn."""
    end = next(token for token in range(backend.info.vocabulary) if backend.is_end(token))
    return Words(range(300, end), end)
