"""Chunk boundaries of a prompt: where checkpoints are kept, for a later prompt that parts from this one there."""

from dataclasses import replace
from itertools import pairwise

import pytest

from localrouter.engine.backends.echo import END, EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.messages import Generate
from localrouter.engine.preprocessing import RequestPreprocessor
from localrouter.engine.scheduling.sequence import Sequence
from localrouter.load_options import LoadOptions

SIZE = 1_000_000


class Recurrent(EchoBackend):
    """A backend of a recurrent model with limits for so many checkpoints, which fails to make any."""

    def __init__(self, states: int) -> None:
        super().__init__(LoadOptions(context=40_000))
        self.limits = replace(self.limits, recurrent=True, state_bytes=states * SIZE, state_size=SIZE)

    def save_state(self, slot: int) -> Checkpoint | None:
        return None


def boundaries(tokens: list[int], states: int) -> list[int]:
    sequence = RequestPreprocessor(Recurrent(states)).prepare(Generate(1, GenerationRequest([], tokens=tokens)))
    assert isinstance(sequence, Sequence)
    return sorted(sequence.chunk_boundaries)


def longest_chunk(tokens: list[int], states: int) -> int:
    """Return the largest number of tokens between two boundaries."""
    return max(end - start for start, end in pairwise([0, *boundaries(tokens, states), len(tokens)]))


@pytest.mark.parametrize("length", [2_000, 8_000, 30_000])
def test_with_enough_memory_boundaries_are_512_to_1024_tokens_apart(length: int) -> None:
    assert 512 <= longest_chunk([97] * length, states=200) <= 1024


def test_checkpoints_of_a_long_prompt_take_at_most_half_of_the_memory() -> None:
    assert len(boundaries([97] * 30_000, states=40)) <= 20


def test_with_little_memory_a_prompt_still_has_a_few_boundaries() -> None:
    assert 7 <= len(boundaries([97] * 30_000, states=2)) <= 8


def test_boundaries_are_at_the_ends_of_the_system_prompt_and_the_last_messages() -> None:
    ends = [100, 200, 300, 400]
    tokens = [END if place + 1 in ends else 97 for place in range(450)]

    assert boundaries(tokens, states=10) == [100, 300, 400]


def test_a_request_succeeds_when_no_checkpoint_can_be_made() -> None:
    engine = Engine(Recurrent(states=10))
    engine.submit(Generate(1, GenerationRequest([], max_tokens=3, tokens=[97] * 2_000)))

    while not engine.is_idle:
        engine.step()
    assert engine.kv_cache.checkpoint_handles == set()
