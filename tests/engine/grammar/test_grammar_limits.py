"""Cost of a grammar while an output follows it: over the limit only this output ends."""

import random

import numpy as np
from llguidance import LLParserLimits

from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.generation_request import Grammar
from localrouter.engine.grammar.constraint import Constraint, GrammarFailed, Grammars
from localrouter.load_options import LoadOptions

EVER_MORE_STATES = Grammar("start: /(?s:.*)a(?s:.{200})/")
"""Grammar that compiles at once, but each token of an output makes new lexer states."""


def steps(constraint: Constraint, seed: int) -> int:
    """Return the number of random letters that an output can have before its grammar costs too much."""
    draw = random.Random(seed)
    for step in range(2000):
        try:
            constraint.allowed()
            constraint.take(draw.choice(b"ab"))
        except GrammarFailed:
            return step
    return 2000


def test_an_output_that_reaches_the_limit_of_its_grammar_leaves_the_next_one_as_much() -> None:
    limits = LLParserLimits(max_lexer_states=500)
    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary, limits=limits)

    first = steps(grammars.constraint(EVER_MORE_STATES), seed=1)
    second = steps(grammars.constraint(EVER_MORE_STATES), seed=2)

    assert first < 2000
    assert np.isclose(second, first, rtol=0.5)
