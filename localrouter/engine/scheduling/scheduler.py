"""Which tokens are computed in the next step: pure bookkeeping over ints and lists, without llama.cpp.

Every running sequence that is decoding gets one row in every step. Prompts are read in chunks: large ones while nobody
is decoding, small ones beside running streams, so that those go on. A prompt that begins like what is in the cache
already begins there; one that begins like a prompt that is being read waits until that part is, and then shares it. All
sequences share one pool of cells. A sequence is admitted when its tokens fit; when cells run out later, first those go
that are kept for nobody in particular, then the youngest sequence is set back: it gives up its cells and is computed
again when there is room, and its reader only notices a pause.
"""

from collections import deque
from dataclasses import replace

from localrouter.engine.kv_cache.radix_tree import Checkpoint, Match, common
from localrouter.engine.kv_cache.slots import Slots
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.limits import Limits
from localrouter.engine.scheduling.sequence import Sequence, SequenceState
from localrouter.engine.scheduling.step_budget import StepBudget
from localrouter.engine.scheduling.step_cost import StepWork

WORTH_WAITING = 32
"""Tokens that a prompt must share with one that is being read to wait for it."""


class Scheduler:
    """Holds every sequence that has not ended, and decides what each step computes.

    A step is `admit`, the changes that it asks of the backend, `schedule`, the changes again, and `computed`.
    """

    def __init__(self, limits: Limits, step_seconds: float = 0.3) -> None:
        """`step_seconds` is how long a step should take at most while streams are running."""
        self.limits = limits
        self.step_budget = StepBudget(
            step_seconds, most=limits.prefill_rows, tile=limits.tile, pads_to_tile=limits.pads_to_tile
        )
        self.slots = Slots(
            slots=limits.slots,
            cells=limits.cells,
            can_fork_anywhere=limits.can_fork_anywhere,
            state_bytes=limits.state_bytes,
            idle_cells=limits.idle_cells,
            host_store_cells=limits.host_store_cells,
        )
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """In the order of admission: the last is the youngest."""
        self._of_id: dict[int, Sequence] = {}
        self._steps = 0
        self._untidy = False
        """Whether a sequence has started or left since conversations that ended were moved out of the way."""
        self._is_crowded = False
        """Whether the backend had no room for those that ran: until one of them ends nobody starts."""

    @property
    def cells_used(self) -> int:
        """Cells that running sequences hold."""
        return self.slots.cache.cells_used - self.slots.cells_idle

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self._of_id

    def __contains__(self, id: int) -> bool:  # noqa: A002 - the word of the messages
        return id in self._of_id

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence. Its tokens and all that it may generate must fit into the pool when it is alone."""
        assert sequence.id not in self._of_id
        assert sequence.prompt_tokens + sequence.max_tokens - 1 <= self.limits.cells
        self._of_id[sequence.id] = sequence
        self.waiting.append(sequence)

    def end(self, id: int, *, keep: bool = True) -> Sequence | None:  # noqa: A002 - the word of the messages
        """Take a sequence out, wherever it stands; None when there is none of that id.

        With `keep` what it computed stays for a prompt that begins alike, as long as nobody needs the room.
        """
        sequence = self._of_id.pop(id, None)
        if sequence is None:
            return None
        if sequence.state is SequenceState.RUNNING:
            self.running.remove(sequence)
            self._leave(sequence, keep=keep)
            self._is_crowded = False
        else:
            self.waiting.remove(sequence)
        sequence.state = SequenceState.ENDED
        return sequence

    def preempt_newest(self) -> Sequence | None:
        """Take the cells of the youngest running sequence and queue it first; None when only one is left to run."""
        if len(self.running) < 2:
            return None
        sequence = self.running.pop()
        self.slots.store(sequence.slot)
        self._leave(sequence, keep=False)
        sequence.state = SequenceState.WAITING
        self.waiting.appendleft(sequence)
        return sequence

    def make_room(self) -> bool:
        """Free cells; False when nothing is left that could go."""
        return self.slots.evict() or self.preempt_newest() is not None

    def cache_was_full(self) -> bool:
        """Free cells that the backend found missing; False when nothing is left that could go.

        The count of cells did not show that they would be missing, so it would start who is set back at once, and the
        next step would find the same. So this one waits until another has ended.
        """
        if self.slots.evict():
            return True
        self._is_crowded = self.preempt_newest() is not None
        return self._is_crowded

    def admit(self) -> None:
        """Start waiting sequences, first come first served, as long as their tokens fit.

        Who begins like a prompt that is being read lets others go first until it can share that.
        """
        self._start_waiting()
        if self._untidy and self.running:
            self._untidy = not self.slots.offload_idle(sum(len(sequence.tokens) for sequence in self.running))

    def _start_waiting(self) -> None:
        for sequence in list(self.waiting):
            if self._is_crowded or len(self.running) >= (self.limits.running or self.limits.slots):
                return
            if self._is_waiting_for_leader(sequence):
                continue
            match = self.slots.match(sequence.tokens)
            if self._finds_leader(sequence, match.count if match else 0):
                continue
            if not self._start(sequence, match):
                return

    def start_anew(self, slot: int) -> None:
        """The backend could not fork into this slot: whoever runs in it computes everything itself."""
        for sequence in self.running:
            if sequence.slot == slot:
                self.slots.empty(slot)
                sequence.computed = sequence.cached = 0

    def schedule(self) -> Batch:
        """Return the rows of the next step; an empty batch when there is nothing to do."""
        self._steps += 1
        while sum(sequence.pending for sequence in self.running) > self.slots.cells_free:
            made = self.make_room()
            assert made, "a sequence that is alone always fits"
        batch = Batch()
        for sequence in self.running:
            if sequence.is_decoding:
                batch.add(sequence, 1)
        prompts = self._prompts()
        if not prompts:
            return self._padded(batch)
        rows = self._rows(batch, prompts)
        for sequence in prompts:
            count = min(rows, self._chunk(sequence))
            if len(prompts) == 1 and not batch.chunks and self.limits.can_fork_anywhere:
                count = _odd_first(count, sequence.pending, self.limits.tile)
            if count:
                batch.add(sequence, count)
            rows -= count
        return self._padded(batch)

    def computed(self, batch: Batch, seconds: float = 0.0) -> list[Sequence]:
        """Note that the backend has computed every row of `batch`, in so many seconds.

        Returns the sequences of which a copy of the state is wanted now; `keep_state` takes it.
        """
        self.step_budget.took(seconds, self._work(batch) + StepWork(batch.padding, batch.padding))
        for sequence, count in batch.chunks:
            tokens = sequence.tokens[sequence.computed : sequence.computed + count]
            self.slots.cache.extend(sequence.slot, tokens)
            sequence.computed += count
            sequence.has_computed = True
        if self.limits.can_fork_anywhere or not self.limits.state_bytes:
            return []
        at_stops = [sequence for sequence, _ in batch.chunks if sequence.computed in sequence.chunk_boundaries]
        return [sequence for sequence in at_stops if not self.slots.cache.has_checkpoint(sequence.slot)]

    def keep_state(self, sequence: Sequence, checkpoint: Checkpoint) -> None:
        """Note a copy of the state of a sequence as far as it is computed."""
        self.slots.keep_state(sequence.slot, checkpoint)

    def check(self) -> None:
        """Assert what must hold between two steps. For tests."""
        self.slots.check({sequence.slot for sequence in self.running})
        assert len(self.running) == len({sequence.slot for sequence in self.running})
        assert all(s.state is SequenceState.RUNNING and 0 <= s.computed < len(s.tokens) for s in self.running)
        assert all(self.slots.cache.tokens(s.slot) == s.tokens[: s.computed] for s in self.running)
        assert all(s.state is SequenceState.WAITING and s.computed == 0 and s.slot == -1 for s in self.waiting)
        assert {s.id for s in [*self.running, *self.waiting]} == set(self._of_id)
        assert self.running or not self._is_crowded

    def _chunk(self, sequence: Sequence) -> int:
        """Tokens of a prompt that can be read at once."""
        return sequence.pending if self.limits.can_fork_anywhere else sequence.until_boundary

    def _rows(self, decoding: Batch, prompts: list[Sequence]) -> int:
        """Prompt tokens for the next step, in which all prompts that get some of them look at their own cells."""
        work, waiting = self._work(decoding), len(prompts) + len(self.waiting)
        rows = wanted = cells = 0
        for sequence in prompts:
            cells = min(cells + sequence.computed, self.cells_used)
            rows = max(wanted, self.step_budget.rows(work, waiting, cells))
            wanted += self._chunk(sequence)
            if wanted >= rows:
                break
        return rows

    def _work(self, batch: Batch) -> StepWork:
        """What a batch takes; cells that sequences share count once."""
        work = batch.work
        if len(batch.chunks) == 1:
            return work
        return replace(work, cells=min(work.cells, self.cells_used + len(batch)))

    def _padded(self, batch: Batch) -> Batch:
        if batch and self.limits.pads_to_tile:
            padding = self.step_budget.padding(self._work(batch))
            batch.padding = padding if len(batch) + padding <= self.slots.cells_free else 0
        return batch

    def _prompts(self) -> list[Sequence]:
        """Prompts in the order in which they get rows: the shortest rest first; every fourth step the oldest first.

        Short prompts overtake long ones, and still no long one waits forever. What others wait for counts as a rest.
        """
        prompts = [sequence for sequence in self.running if not sequence.is_decoding]
        if self._steps % 4:
            prompts.sort(key=lambda sequence: sequence.until_boundary)
        return prompts[:1] if self.limits.recurrent else prompts

    def _is_waiting_for_leader(self, sequence: Sequence) -> bool:
        leader = sequence.leader
        if leader is not None and leader.state is SequenceState.RUNNING and leader.computed < sequence.shared:
            return True
        sequence.leader = None
        return False

    def _finds_leader(self, sequence: Sequence, here: int) -> bool:
        """Whether more of a prompt than is `here` is being read for another one now."""
        begin = sequence.tokens[:WORTH_WAITING]
        for leader in self.running:
            if leader.tokens[:WORTH_WAITING] != begin:
                continue
            shared = min(common(leader.tokens, sequence.tokens), len(sequence.tokens) - 1)
            if shared - max(here, leader.computed) >= WORTH_WAITING:
                leader.chunk_boundaries.add(shared)
                sequence.leader, sequence.shared = leader, shared
                return True
        return False

    def _start(self, sequence: Sequence, match: Match | None) -> bool:
        """Give a sequence a slot, with what is there of its tokens; False when there is no room.

        Beside running sequences a little room is left for these to grow, or the newcomer would be set back at once.
        Nothing that is kept goes where the room would not be enough all the same.
        """
        growth = max(32, self.limits.cells // 64) if self.running else 0
        wanted = sum(other.pending for other in self.running) + growth + len(sequence.tokens)
        while (missing := wanted - (match.count if match else 0) - self.slots.cells_free) > 0:
            idle = self.slots.cells_idle
            if missing > idle:
                return False
            if self.slots.evict(spare=match.slot if match else None):
                continue
            if wanted - self.slots.cells_free > idle or not self.slots.evict():
                return False
            match = self.slots.match(sequence.tokens)
        slot = self.slots.take(match)
        if slot is None and match:
            slot = self.slots.take(None)  # what begins alike is in the only slot that is left
        if slot is None:
            return False
        self.waiting.remove(sequence)
        sequence.slot, sequence.computed = slot, self.slots.restore(slot, sequence.tokens)
        if not sequence.completion_tokens:
            # What comes back after it was set back may be what it has computed itself.
            sequence.cached = min(sequence.computed, sequence.cached) if sequence.has_computed else sequence.computed
        sequence.state = SequenceState.RUNNING
        self.running.append(sequence)
        self._untidy = True
        return True

    def _leave(self, sequence: Sequence, *, keep: bool) -> None:
        if keep:
            self.slots.release(sequence.slot)
        else:
            self.slots.clear(sequence.slot)
        sequence.slot = -1
        sequence.computed = 0
        self._untidy = True


def _odd_first(count: int, pending: int, tile: int) -> int:
    """Rows of a prompt's next chunk, so that what is left after it are whole tiles: an odd rest is cheapest at first.

    At the end of a long prompt each row has all the others to attend to.
    """
    if count >= pending:
        return count
    short = -(pending - count) % tile
    return count - short if short < count else count
