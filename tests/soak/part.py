"""A part of a soak: random requests and faults on one engine, with every invariant checked after each step."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest
from localrouter.engine.kv_cache.operations import Clear, Discard, Forget, Store
from localrouter.engine.messages import Generate
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.sequence import Sequence
from localrouter.load_options import LoadOptions

from .faults import Faults
from .ledger import Ledger, Record
from .tally import Tally
from .workload import Request, Words, compose, requests

TILE, SLOWER = 64, 4
"""In a step of fewer rows than a tile each row takes so many times longer, so that padding pays."""
STALL = 300
"""After so many steps without a token and without an end the engine is considered stuck."""


@dataclass(frozen=True)
class Setting:
    """The cache and the speed of a part."""

    cells: int
    sequences: int
    flash_attention: bool
    windows: bool
    """Whether sliding-window layers hold their windows only."""
    state_bytes: int
    """Limit of all checkpoints, in bytes."""
    idle_share: float
    """Share of all cells that idle slots may hold beside running ones."""
    host_store_cells: int
    """Cells of the host store, on models whose cells can be copied."""
    row_seconds: float
    """Simulated seconds per row, from which the step budget follows."""
    context: int = 1100
    scale: float = 1
    """Factor of the lengths of prompts and outputs; 1 is for a context of 1,100 tokens."""
    together: int = 7
    """Number of output tokens that are computed together where an output is verified."""

    @property
    def options(self) -> LoadOptions:
        """Load options of the backend."""
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
    """One engine with its faults, and the records of its requests."""

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
        """Whether the backend uses one more sequence id than there are slots, for padding and copies."""
        self.faults = Faults(backend, random.Random(seed))
        self.engine = Engine(backend)
        self.ledger = Ledger(backend)
        self.words = words_of(backend)
        self._simulate_time(setting.row_seconds)
        self._count_preemptions_and_evictions()

    def play(self, count: int) -> None:
        """Serve `count` requests to their ends, then free the whole cache. Raises AssertionError."""
        arrivals = requests(self.seed, count, self.words, self.setting.scale)[::-1]
        cancels = sorted((each.step + each.patience, each.number) for each in arrivals if each.patience is not None)
        cancels.reverse()
        now = quiet = 0
        while arrivals or not self.engine.is_idle:
            if self.engine.is_idle:
                now = max(now, arrivals[-1].step)
                self._run_idle_work()
            while arrivals and arrivals[-1].step <= now:
                self._submit(arrivals.pop())
            while cancels and cancels[-1][0] <= now:
                number = cancels.pop()[1]
                self.ledger.cancelled(number, self.engine.cancel(number))
            quiet = 0 if self._step() else quiet + 1
            assert quiet < STALL, "the engine is stuck"
            now += 1
        self._check_end(count)

    def greedy(self) -> Iterator[Record]:
        """Yield the records of greedy requests that ended with stop or length."""
        for record in self.ledger.records.values():
            if record.request.is_greedy and record.end and record.end.reason in ("stop", "length"):
                yield record

    def _submit(self, request: Request) -> None:
        conversations = {number: record.tokens for number, record in self.ledger.records.items()}
        tokens = compose(request.prompt, conversations, self.words, self.setting.context)
        record = Record(request, len(tokens), tokens, self.setting.context)
        command = Generate(request.number, GenerationRequest([], request.sampling, request.max_tokens, tokens=tokens))
        self.ledger.submitted(record, self.engine.submit(command))

    def _run_idle_work(self) -> None:
        """Let the engine do its idle work until none is left."""
        for _ in range(2 * self.backend.limits.slots):
            if not self.engine.run_idle_work():
                return
            self._check_cache()
        raise AssertionError("idle work does not end")

    def _step(self) -> bool:
        """Compute a step and check it; return whether a token was sampled, a request has ended, or none is open."""
        before = (self._sampled(), len(self.ledger.open))
        self.ledger.take(self.engine.step(), self.faults.codes)
        self._check_cache()
        self.tally.steps += 1
        return before != (self._sampled(), len(self.ledger.open)) or not self.ledger.open

    def _sampled(self) -> int:
        return sum(len(self.ledger.records[number].tokens) for number in self.ledger.open)

    def _check_cache(self) -> None:
        """Assert that the engine and llama.cpp agree about which requests run, and what each slot holds."""
        scheduler, cache = self.engine.scheduler, self.engine.kv_cache
        scheduler.check()
        assert {each.id for each in [*scheduler.running, *scheduler.waiting]} == self.ledger.open
        assert len(scheduler.running) <= self.backend.limits.running
        to_clear = {operation.slot for operation in cache.pending if isinstance(operation, Clear)}
        to_discard = {operation.checkpoint.handle for operation in cache.pending if isinstance(operation, Discard)}
        to_forget = {operation.handle for operation in cache.pending if isinstance(operation, Forget)}
        to_store = {operation.handle for operation in cache.pending if isinstance(operation, Store)}
        for slot in range(self.backend.limits.slots):
            length = cache.length(slot)
            assert length == self.backend.cells_of(slot) or (not length and slot in to_clear), f"slot {slot}"
        if self.has_scratch:
            assert not self.backend.cells_of(self.backend.limits.slots), "padding and copies leave no cells behind"
        assert self.faults.states == cache.checkpoint_handles | to_discard
        assert cache.offloaded_handles - to_store <= self.faults.copies <= cache.offloaded_handles | to_forget

    def _check_end(self, count: int) -> None:
        """Assert that every request has ended, and that no cell and no copy is left after freeing the cache."""
        scheduler, cache = self.engine.scheduler, self.engine.kv_cache
        assert len(self.ledger.records) == count
        assert not self.ledger.open
        assert all(record.end for record in self.ledger.records.values())
        while scheduler.make_room():
            pass
        self.engine.step()
        self._check_cache()
        assert cache.cells_running == cache.cells_idle == 0
        assert not self.faults.states
        assert not self.backend._copies._states
        assert self.backend._copies._cells.keys() == self.faults.copies
        assert cache.slots_free == [*range(self.backend.limits.slots)]
        self._count()

    def _count(self) -> None:
        tally = self.tally
        tally.ends += self.ledger.reasons()
        tally.faults += self.faults.counts
        tally.requests += len(self.ledger.records)
        usages = [record.end.usage for record in self.ledger.records.values() if record.end]
        tally.prompt_tokens += sum(usage.prompt_tokens for usage in usages)
        tally.cached_tokens += sum(usage.cached_tokens for usage in usages)

    def _simulate_time(self, row_seconds: float) -> None:
        """Derive the seconds of a step from its rows, so that a run is the same on any machine."""
        scheduler = self.engine.scheduler
        commit = scheduler.commit

        def simulated(batch: Batch, seconds: float = 0.0) -> list[Sequence]:
            rows = len(batch) + batch.padding
            return commit(batch, row_seconds * (rows if rows >= TILE else min(SLOWER * rows, 2 * TILE)))

        scheduler.commit = simulated  # type: ignore[method-assign]

    def _count_preemptions_and_evictions(self) -> None:
        """Count preempted sequences, and idle slots that are cleared."""
        scheduler, cache = self.engine.scheduler, self.engine.kv_cache
        preempt, clear = scheduler.preempt_newest, cache.clear

        def counted_preemption() -> Sequence | None:
            sequence = preempt()
            self.tally.preempted += sequence is not None
            return sequence

        def counted_clear(slot: int) -> None:
            self.tally.evicted += cache.is_idle(slot)
            clear(slot)

        scheduler.preempt_newest = counted_preemption  # type: ignore[method-assign]
        cache.clear = counted_clear  # type: ignore[method-assign]


def words_of(backend: LlamaBackend) -> Words:
    """Return the tokens that prompts are made of: ordinary ones, and the first special token that ends a message."""
    end = next(token for token in range(backend.info.vocabulary) if backend.is_end(token))
    return Words(range(300, end), end)
