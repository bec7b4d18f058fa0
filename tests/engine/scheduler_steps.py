"""Sequences and steps for tests of the scheduler without a backend."""

from itertools import count as counting

from cache_backend import FakeCacheBackend

from localrouter.engine.generation_request import Sampling
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.scheduler import Scheduler
from localrouter.engine.scheduling.sequence import Sequence

handles = counting()


def sequence(number: int, prompt: int, max_tokens: int = 4) -> Sequence:
    """Return a sequence whose prompt shares no token with that of another number."""
    return Sequence(number, [1000 * number + token for token in range(prompt)], max_tokens, Sampling())


def with_prefix(number: int, shared: int, own: int, max_tokens: int = 1) -> Sequence:
    """Return a sequence whose prompt shares its first `shared` tokens with that of every other number."""
    return Sequence(number, [*range(shared), *range(1000 * number, 1000 * number + own)], max_tokens, Sampling())


def step(scheduler: Scheduler, row_seconds: float = 0.0) -> Batch:
    """Compute one step, in which a row takes `row_seconds`, every sampled token is 7, and complete outputs end."""
    scheduler.admit()
    batch = scheduler.schedule()
    scheduler.apply(FakeCacheBackend())
    for each in scheduler.commit(batch, row_seconds * len(batch)):
        scheduler.add_checkpoint(each, Checkpoint(next(handles), 1))
    for each in batch.sampled:
        each.tokens.append(7)
        if each.completion_tokens == each.max_tokens:
            scheduler.end(each.id)
    scheduler.check()
    return batch


def rows(batch: Batch) -> dict[int, int]:
    """Return the number of rows of each sequence, by its id."""
    return {each.id: count for each, count in batch.chunks}
