"""Which sampling parameters a sampler chain of a backend can apply."""

import pytest

from localrouter.engine.generation_request import Sampling
from localrouter.engine.sampling.chain_params import GREEDY, ChainParams, chain_params_of


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(top_k=1),
        Sampling(top_p=0),
        Sampling(temperature=0, seed=3, stop=("x",), stop_tokens=(1,)),
    ],
)
def test_greedy_sampling_has_a_chain_whatever_the_other_fields(sampling: Sampling) -> None:
    assert chain_params_of(sampling) == GREEDY


def test_a_few_of_the_likeliest_are_a_recipe() -> None:
    sampling = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.05)

    assert chain_params_of(sampling) == ChainParams(0.6, 20, 0.05, 0.95)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(top_p=0.9),
        Sampling(top_k=2000),
        Sampling(top_k=20, seed=1),
        Sampling(top_k=20, min_p=1),
        Sampling(top_k=20, temperature=1e-6),
        Sampling(top_k=20, logprobs=0),
        Sampling(temperature=0, logprobs=0),
        Sampling(temperature=0, presence_penalty=0.1),
        Sampling(temperature=0, frequency_penalty=-0.1),
        Sampling(temperature=0, repeat_penalty=1.1),
        Sampling(temperature=0, logit_bias={3: 1.0}),
        Sampling(temperature=0, min_tokens=1),
        Sampling(temperature=0, ignore_eos=True),
    ],
)
def test_parameters_that_a_chain_would_apply_otherwise_have_none(sampling: Sampling) -> None:
    assert chain_params_of(sampling) is None
