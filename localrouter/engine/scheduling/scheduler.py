"""The scheduler: which sequences run, and what each step computes. Bookkeeping over ints and lists, without llama.cpp.

Continuous batching: each step has a batch of its own. A request is admitted between two steps as soon as its
tokens fit into the KV cache, and leaves after the step that samples its last token; no request waits for a batch to
finish. Requests are admitted in the order of their arrival.

Chunked prefill: a sequence that is decoding has one row in each step, and prompts share the rest of the step's token
budget, in chunks (`batch_planner`). A long prompt is computed over many steps, and running streams go on meanwhile.

Prefix caching: a sequence starts from the longest prefix of its tokens that is cached or offloaded. If most of that
prefix is in prefill for another sequence, its leader, it waits until it can share the leader's cells.

Recompute preemption: all sequences share one pool of cells, and outputs grow. When the pool is full, cells of ended
sequences are evicted first. Then the newest running sequence is preempted: its cells are freed and it waits in front of
the queue. When it runs again, its tokens are restored from host memory or computed again; its client notices a pause.
"""

from collections import deque

from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.kv_cache import KvCache
from localrouter.engine.kv_cache.operations import CacheBackend
from localrouter.engine.kv_cache.radix_tree import Match, common_length
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.batch_planner import BatchPlanner
from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.engine.scheduling.sequence import Sequence, SequenceState

MIN_SHARED = 32
"""Tokens that a prompt must share with one in prefill, beyond those cached, to wait for it."""
_MIN_GROWTH, _GROWTH_DIVISOR = 32, 64
"""At an admission so many cells at least, and this fraction of all cells, stay free for running sequences to grow."""


class Scheduler:
    """All sequences that have not ended.

    A step is `admit`, `apply`, `schedule`, `apply`, the decoding of the batch by the backend, and `commit`.
    """

    def __init__(self, limits: EngineLimits, step_seconds: float = 0.3) -> None:
        """`step_seconds` is the time that a step should take at most, so that running streams do not stall."""
        self.limits = limits
        self.planner = BatchPlanner(limits, step_seconds)
        self.kv_cache = KvCache(
            slots=limits.slots,
            cells=limits.cells,
            can_fork_anywhere=limits.can_fork_anywhere,
            state_bytes=limits.state_bytes,
            idle_cells=limits.idle_cells,
            host_store=HostStore(limits.host_store_cells),
        )
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """Running sequences in the order of their admission, the newest last."""
        self._by_id: dict[int, Sequence] = {}
        self._has_idle_to_offload = False
        """Whether a sequence has started or left since idle slots were last offloaded."""
        self._is_admission_paused = False
        """Whether no sequence is admitted until one ends, because the backend had no room for those running."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self._by_id

    def __contains__(self, id: int) -> bool:  # noqa: A002 - the name in messages
        return id in self._by_id

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence. Its prompt and its longest output must fit into an otherwise empty cache."""
        assert sequence.id not in self._by_id
        assert sequence.prompt_tokens + max(sequence.max_tokens, 1) - 1 <= self.limits.cells
        self._by_id[sequence.id] = sequence
        self.waiting.append(sequence)

    def end(self, id: int, *, keep: bool = True) -> Sequence | None:  # noqa: A002 - the name in messages
        """Remove a waiting or running sequence and return it; None if there is none of this id.

        With `keep` its tokens stay cached for prompts with the same prefix.
        """
        sequence = self._by_id.pop(id, None)
        if sequence is None:
            return None
        if sequence.state is SequenceState.WAITING:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            if keep:
                self.kv_cache.release(sequence.slot)
            else:
                self.kv_cache.clear(sequence.slot)
            self._detach(sequence)
            self._is_admission_paused = False
        sequence.state = SequenceState.ENDED
        return sequence

    def preempt_newest(self) -> Sequence | None:
        """Preempt the newest running sequence, queue it first and return it; None if fewer than two are running."""
        if len(self.running) < 2:
            return None
        sequence = self.running.pop()
        self.kv_cache.offload(sequence.slot)
        self._detach(sequence)
        sequence.state = SequenceState.WAITING
        self.waiting.appendleft(sequence)
        return sequence

    def make_room(self) -> bool:
        """Free cells by evicting an idle slot, or else by preemption; return False if neither is possible."""
        return self.kv_cache.evict() or self.preempt_newest() is not None

    def make_room_for_backend(self) -> bool:
        """Free cells after the backend reported a full cache; return False if nothing can be evicted or preempted.

        By the scheduler's own count there is room, so it would admit a preempted sequence at once, and the cache would
        be full again. So after a preemption no sequence is admitted until a running one ends.
        """
        if self.kv_cache.evict():
            return True
        self._is_admission_paused = self.preempt_newest() is not None
        return self._is_admission_paused

    def admit(self) -> None:
        """Start waiting sequences in the order of arrival as long as their tokens fit, and offload idle slots.

        A sequence that shares a prefix with one in prefill lets others go first until it can reuse that prefix.
        """
        self._start_waiting()
        if self._has_idle_to_offload and self.running:
            attended = sum(len(sequence.tokens) for sequence in self.running)
            self._has_idle_to_offload = not self.kv_cache.offload_idle(attended)

    def apply(self, backend: CacheBackend) -> None:
        """Let the backend perform the pending KV-cache operations.

        A sequence whose cached prefix could not be forked or restored computes all of its tokens.
        """
        emptied = self.kv_cache.apply(backend)
        for sequence in self.running:
            if sequence.slot in emptied:
                sequence.computed = sequence.cached = 0

    def schedule(self) -> Batch:
        """Return the rows of the next step, after making room for them; none if there is nothing to do."""
        cache = self.kv_cache
        while sum(sequence.pending for sequence in self.running) > cache.cells_free:
            has_room = self.make_room()
            assert has_room, "a sequence that is alone always fits"
        return self.planner.plan(
            self.running,
            waiting=len(self.waiting),
            cells_running=cache.cells_running,
            cells_free=cache.cells_free,
        )

    def commit(self, batch: Batch, seconds: float = 0.0) -> list[Sequence]:
        """Record that the backend has computed a batch, in so many seconds.

        Returns the sequences of which a checkpoint is wanted now, to be given to `add_checkpoint`.
        """
        self.planner.observe(batch, seconds, self.kv_cache.cells_running)
        for sequence, count in batch.chunks:
            tokens = sequence.tokens[sequence.computed : sequence.computed + count]
            self.kv_cache.extend(sequence.slot, tokens)
            sequence.computed += count
            sequence.has_computed = True
        if self.limits.can_fork_anywhere or not self.limits.state_bytes:
            return []
        at_boundary = [sequence for sequence, _ in batch.chunks if sequence.computed in sequence.chunk_boundaries]
        return [sequence for sequence in at_boundary if not self.kv_cache.has_checkpoint(sequence.slot)]

    def add_checkpoint(self, sequence: Sequence, checkpoint: Checkpoint) -> None:
        """Record a copy of a running sequence's state after its computed tokens."""
        self.kv_cache.add_checkpoint(sequence.slot, checkpoint)

    def check(self) -> None:
        """Assert the invariants that hold between two steps. For tests."""
        self.kv_cache.check({sequence.slot for sequence in self.running})
        assert len(self.running) == len({sequence.slot for sequence in self.running})
        assert all(s.state is SequenceState.RUNNING and 0 <= s.computed < len(s.tokens) for s in self.running)
        assert all(self.kv_cache.tokens(s.slot) == s.tokens[: s.computed] for s in self.running)
        assert all(s.state is SequenceState.WAITING and s.computed == 0 and s.slot == -1 for s in self.waiting)
        assert {s.id for s in [*self.running, *self.waiting]} == set(self._by_id)
        assert self.running or not self._is_admission_paused

    def _start_waiting(self) -> None:
        for sequence in list(self.waiting):
            if self._is_admission_paused or len(self.running) >= (self.limits.running or self.limits.slots):
                return
            if self._waits_for_leader(sequence):
                continue
            match = self.kv_cache.match(sequence.reusable_tokens)
            if self._find_leader(sequence, match.count if match else 0):
                continue
            if not self._start(sequence, match):
                return

    def _waits_for_leader(self, sequence: Sequence) -> bool:
        """Return whether the leader of a sequence has yet to compute the prefix that both share."""
        leader = sequence.leader
        if leader is not None and leader.state is SequenceState.RUNNING and leader.computed < sequence.shared:
            return True
        sequence.leader = None
        return False

    def _find_leader(self, sequence: Sequence, cached: int) -> bool:
        """Find a running sequence that will compute more of a prompt's prefix than the `cached` tokens.

        If there is one it becomes the leader, with a chunk boundary where the two part. Returns whether there is.
        """
        if len(sequence.reusable_tokens) < len(sequence.tokens):
            return False  # its prompt is computed for its own log probabilities
        begin = sequence.tokens[:MIN_SHARED]
        for leader in self.running:
            if leader.tokens[:MIN_SHARED] != begin:
                continue
            shared = min(common_length(leader.tokens, sequence.tokens), len(sequence.tokens) - 1)
            if shared - max(cached, leader.computed) >= MIN_SHARED:
                leader.chunk_boundaries.add(shared)
                sequence.leader, sequence.shared = leader, shared
                return True
        return False

    def _start(self, sequence: Sequence, match: Match | None) -> bool:
        """Give a sequence a slot with its longest cached prefix; return False if there is no slot or no room."""
        has_room, match = self._make_room_for(sequence, match)
        if not has_room:
            return False
        slot = self.kv_cache.acquire(match)
        if slot is None and match:
            slot = self.kv_cache.acquire(None)  # the cached prefix is in the only slot that is not running
        if slot is None:
            return False
        self.waiting.remove(sequence)
        sequence.slot, sequence.computed = slot, self.kv_cache.restore(slot, sequence.reusable_tokens)
        if not sequence.completion_tokens:
            # After a preemption the cached prefix may be what this sequence has computed itself.
            sequence.cached = min(sequence.computed, sequence.cached) if sequence.has_computed else sequence.computed
        sequence.state = SequenceState.RUNNING
        self.running.append(sequence)
        self._has_idle_to_offload = True
        return True

    def _make_room_for(self, sequence: Sequence, match: Match | None) -> tuple[bool, Match | None]:
        """Evict idle slots until a sequence fits; return whether it does, and its match among the slots that are left.

        Some cells stay free for running sequences to grow, or the new one would be preempted soon. Nothing is evicted
        if even evicting all idle slots would not be enough.
        """
        cache = self.kv_cache
        growth = max(_MIN_GROWTH, self.limits.cells // _GROWTH_DIVISOR) if self.running else 0
        wanted = sum(other.pending for other in self.running) + growth + len(sequence.tokens)
        while (missing := wanted - (match.count if match else 0) - cache.cells_free) > 0:
            idle = cache.cells_idle
            if missing > idle:
                return False, match
            if cache.evict(spare=match.slot if match else None):
                continue
            if wanted - cache.cells_free > idle or not cache.evict():
                return False, match
            match = cache.match(sequence.reusable_tokens)
        return True, match

    def _detach(self, sequence: Sequence) -> None:
        """Record that a sequence has given up its slot."""
        sequence.slot = -1
        sequence.computed = 0
        self._has_idle_to_offload = True
