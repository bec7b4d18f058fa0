"""Log probabilities of prompts on llama.cpp: equal to a plain evaluation of the tokens, for each kind of memory."""

import random
from collections.abc import Iterator

import pytest
from conversations import end_of, forget, run, small_model
from plain_llama import text_logprobs

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling
from localrouter.engine.messages import Event, Generate, PromptLogprobs, PromptToken
from localrouter.load_options import LoadOptions

KINDS = ("qwen3-tiny", "gemma4-tiny", "qwen35moe-tiny")
TOLERANCE = 0.01
"""Largest difference of a log probability."""
NOISE = 0.1
"""Largest mean difference where cells of other prompts lie between those of a prompt: sums are added up in another
order, and a random model amplifies the rounding. A wrong token would differ by more than 1."""
OPTIONS = LoadOptions(
    threads=1, cells=2048, context=1024, max_sequences=4, extra_buffers="off", swa_full="off", flash_attention="off"
)
PROMPT = random.Random(0).choices(range(300, 4000), k=300)


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_model(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def backend(path: str) -> Iterator[LlamaBackend]:
    backend = LlamaBackend(path, OPTIONS)
    yield backend
    backend.close()


@pytest.fixture
def engine(backend: LlamaBackend) -> Iterator[Engine]:
    engine = Engine(backend)
    yield engine
    forget(engine)


def scored(number: int, tokens: list[int], *, top: int = 0, max_tokens: int = 1) -> Generate:
    request = GenerationRequest([], Sampling(temperature=0), max_tokens, tokens=[*tokens], prompt_logprobs=top)
    return Generate(number, request)


def tokens_of(events: list[Event], number: int) -> list[PromptToken]:
    told = [event for event in events if isinstance(event, PromptLogprobs) and event.id == number]
    return [token for event in told for token in event.tokens]


def differences(found: list[PromptToken], expected: list[float]) -> list[float]:
    assert found[0].logprob is None
    values = [token.logprob for token in found[1:] if token.logprob is not None]
    return [abs(value - other) for value, other in zip(values, expected, strict=True)]


def test_they_are_those_of_one_evaluation_of_the_whole_text(engine: Engine, path: str) -> None:
    found = tokens_of(run(engine, scored(1, PROMPT)), 1)

    assert [token.token for token in found] == PROMPT
    assert max(differences(found, text_logprobs(path, PROMPT)[0])) <= TOLERANCE


def test_several_prompts_with_the_same_prefix_are_each_computed(engine: Engine, path: str) -> None:
    other = [*PROMPT[:150], *reversed(PROMPT[:90])]

    run(engine, scored(1, PROMPT))
    events = run(engine, scored(2, PROMPT), scored(3, other), scored(4, PROMPT, max_tokens=9))

    assert [end_of(events, number).usage.cached_tokens for number in (2, 3, 4)] == [0, 0, 0]
    for number, tokens in ((2, PROMPT), (3, other), (4, PROMPT)):
        found = differences(tokens_of(events, number), text_logprobs(path, tokens)[0])
        assert sum(found) / len(found) <= NOISE


def test_a_scored_prompt_is_cached_for_requests_without_logprobs(engine: Engine) -> None:
    run(engine, scored(1, PROMPT, max_tokens=0))
    plain = Generate(2, GenerationRequest([], Sampling(temperature=0), 1, tokens=[*PROMPT, 5]))

    assert end_of(run(engine, plain), 2).usage.cached_tokens == len(PROMPT)


def test_the_likeliest_tokens_are_ranked(engine: Engine) -> None:
    for token in tokens_of(run(engine, scored(1, PROMPT[:60], top=5)), 1)[1:]:
        assert token.rank is not None
        assert len(token.top) == 5
        assert [value for *_, value in token.top] == sorted((value for *_, value in token.top), reverse=True)
        place = [other for other, *_ in token.top].index(token.token) + 1 if token.rank <= 5 else token.rank
        assert token.rank == place
