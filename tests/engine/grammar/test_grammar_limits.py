"""What a grammar may cost while an answer follows it, and who pays when that is too much."""

import random

import numpy as np
import pytest
from llguidance import LLParserLimits

from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.grammar import constraint
from localrouter.engine.grammar.constraint import Constraint, GrammarFailed, Grammars
from localrouter.engine.messages import Grammar
from localrouter.load_options import LoadOptions

EVER_MORE_STATES = Grammar("start: /(?s:.*)a(?s:.{200})/")
"""Compiled at once, but each token of an answer makes states that no other had."""


def steps(constraint: Constraint, seed: int) -> int:
    """How many random letters an answer can have before its grammar costs too much."""
    draw = random.Random(seed)
    for step in range(2000):
        try:
            constraint.allowed()
            constraint.take(draw.choice(b"ab"))
        except GrammarFailed:
            return step
    return 2000


def test_an_answer_that_spends_what_its_grammar_may_cost_leaves_the_next_as_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constraint, "_LIMITS", LLParserLimits(max_lexer_states=500))
    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary)

    first = steps(grammars.constraint(EVER_MORE_STATES), seed=1)
    second = steps(grammars.constraint(EVER_MORE_STATES), seed=2)

    assert first < 2000
    assert np.isclose(second, first, rtol=0.5)
