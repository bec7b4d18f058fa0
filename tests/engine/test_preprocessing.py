"""Where copies of a recurrent state are wanted: where a later prompt is likely to part from this one."""

from dataclasses import replace
from itertools import pairwise

import pytest

from localrouter.engine.backends.echo import END, EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.kv_cache.radix_tree import Checkpoint
from localrouter.engine.messages import Generate, LoadOptions
from localrouter.engine.preprocessing import RequestPreprocessor
from localrouter.engine.scheduling.sequence import Sequence

SIZE = 1_000_000


class Recurrent(EchoBackend):
    """A cache that cannot be cut back, of whose states so many can be kept; of none when it comes to it."""

    def __init__(self, states: int) -> None:
        super().__init__(LoadOptions(context=40_000))
        self.limits = replace(self.limits, recurrent=True, state_bytes=states * SIZE, state_size=SIZE)

    def keep_state(self, slot: int) -> Checkpoint | None:
        return None


def stops(tokens: list[int], states: int) -> list[int]:
    taken = RequestPreprocessor(Recurrent(states)).take(Generate(1, [], tokens=tokens))
    assert isinstance(taken, Sequence)
    return sorted(taken.chunk_boundaries)


def longest_way(tokens: list[int], states: int) -> int:
    """How far it is at most from one stop to the next."""
    return max(end - start for start, end in pairwise([0, *stops(tokens, states), len(tokens)]))


@pytest.mark.parametrize("length", [2_000, 8_000, 30_000])
def test_with_memory_enough_they_are_up_to_1024_tokens_apart(length: int) -> None:
    assert 512 <= longest_way([97] * length, states=200) <= 1024


def test_a_long_prompt_takes_half_of_the_memory_at_most() -> None:
    assert len(stops([97] * 30_000, states=40)) <= 20


def test_with_little_memory_there_are_still_a_few() -> None:
    assert 7 <= len(stops([97] * 30_000, states=2)) <= 8


def test_they_are_where_the_system_prompt_and_the_last_turns_end() -> None:
    ends = [100, 200, 300, 400]
    tokens = [END if place + 1 in ends else 97 for place in range(450)]

    assert stops(tokens, states=10) == [100, 300, 400]


def test_where_none_can_be_kept_the_answer_comes_all_the_same() -> None:
    engine = Engine(Recurrent(states=10))
    engine.submit(Generate(1, [], max_tokens=3, tokens=[97] * 2_000))

    while not engine.is_idle:
        engine.step()
    assert engine.scheduler.slots.cache.handles == set()
