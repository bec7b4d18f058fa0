"""Grammars that answers have to obey: compiled once, kept, and followed token by token with llguidance.

What comes from a client must not cost the others anything. So a grammar is compiled, and its first mask computed,
beside the engine, within limits that refuse one that would take seconds; and what an answer may cost later, for one
token, is bounded too. The limits were found with 152k tokens of vocabulary: an object of 2,000 optional
properties takes 0.3 s to compile and 10 ms for each place between properties; one of 10,000 is refused in 0.1 s.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from localrouter.engine.messages import Grammar

_KEPT = 32
"""Compiled grammars that are kept, the refused ones as what was wrong with them."""
_LIMITS = LLParserLimits(
    max_grammar_size=25_000,
    initial_lexer_fuel=300_000,
    max_items_in_row=8_000,
    step_max_items=50_000,
    step_lexer_fuel=200_000,
    max_lexer_states=50_000,
    verbose_errors=False,
)
_WORDS = 400
"""Characters that are told of what is wrong with a grammar; it may quote all of a schema."""


class GrammarRefused(Exception):
    """A grammar that cannot be used; the message is for whoever wrote it."""


class GrammarFailed(Exception):
    """An answer cannot go on by its grammar; `code` is the stable word for why."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class GrammarVocabulary:
    """What a grammar has to know of a vocabulary."""

    pieces: list[bytes]
    """The bytes of every token, marks included."""
    special_tokens: Sequence[int]
    """Tokens that text is never made of: a grammar allows them only where it names them by their numbers."""
    ends: list[int]
    """Tokens that end an answer; not empty."""
    tokenize: Callable[[str], list[int]]
    """Text to tokens, none of them a mark. It is called from several threads."""


@dataclass
class _Compiled:
    """A grammar at its beginning. Its answers share what llguidance works out on the way, and the bounds of that."""

    matcher: LLMatcher
    is_spent: bool = False
    """Whether an answer met one of these bounds: then no other gets any further."""


class Constraint:
    """Where one answer stands in its grammar."""

    def __init__(self, compiled: _Compiled, vocabulary: int) -> None:
        self._compiled = compiled
        self._matcher = compiled.matcher.deep_copy()
        self._mask = np.zeros(-(-vocabulary // 32), np.uint32)
        self._address = self._mask.ctypes.data

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow but the end."""
        return self._matcher.is_stopped()

    def allowed(self) -> int | NDArray[np.uint8]:
        """Return the one token that may come next, or which may: a bit for each, the lowest bit of a byte first.

        The bits are valid until the next call. Raises GrammarFailed.
        """
        self._matcher.unsafe_compute_mask_ptr(self._address, self._mask.nbytes)
        self._check()
        if np.bitwise_count(self._mask).sum() > 1:
            return self._mask.view(np.uint8)
        word = int(self._mask.argmax())
        return 32 * word + int(self._mask[word]).bit_length() - 1

    def take(self, token: int) -> None:
        """Go on by a token that the answer has got. Raises GrammarFailed."""
        self._matcher.consume_token(token)
        self._check()

    def allows(self, tokens: Collection[int]) -> bool:
        """Whether all of these tokens may come next, one after the other."""
        return self._matcher.validate_tokens(list(tokens)) == len(tokens)

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        words = self._matcher.get_error()
        if words.startswith("NoExtension"):
            raise GrammarFailed("The grammar leaves nothing to be said at this place.", "grammar_dead_end")
        self._compiled.is_spent = True
        raise GrammarFailed(f"The grammar cannot be followed any further: {_plain(words)}", "grammar_failed")


class GrammarCheck(Protocol):
    """Looks at grammars before they are compiled."""

    def danger(self, lark: str) -> str | None:
        """Return in words why a grammar must not be compiled; None when it may be."""
        ...


class Grammars:
    """Compiles grammars for one vocabulary, and keeps the last of them. For one thread."""

    def __init__(
        self, vocabulary: Callable[[], GrammarVocabulary], trial: Callable[[list[bytes]], GrammarCheck] | None = None
    ) -> None:
        """`vocabulary` is asked for with the first grammar: a large one takes a second to be made ready.

        `trial` makes, of how marks are written, what looks at each grammar before it is compiled.
        """
        self._vocabulary = vocabulary
        self._new_trial = trial
        self._trial: GrammarCheck | None = None
        self._tokenizer: LLTokenizer | None = None
        self._known: OrderedDict[str, _Compiled | GrammarRefused] = OrderedDict()

    def constraint(self, grammar: Grammar) -> Constraint:
        """Return the beginning of an answer by this grammar. Raises GrammarRefused."""
        if self._tokenizer is None:
            self._tokenizer = self._made_ready()
        known = self._known.pop(grammar.lark, None)
        if known is None or (isinstance(known, _Compiled) and known.is_spent):
            danger = self._trial.danger(grammar.lark) if self._trial else None
            known = _compile(self._tokenizer, grammar.lark) if danger is None else GrammarRefused(danger)
        self._known[grammar.lark] = known
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        if isinstance(known, GrammarRefused):
            raise GrammarRefused(str(known))
        return Constraint(known, self._tokenizer.vocab_size)

    def _made_ready(self) -> LLTokenizer:
        vocabulary = self._vocabulary()
        if self._new_trial:
            self._trial = self._new_trial(
                [vocabulary.pieces[token] for token in {*vocabulary.ends, *vocabulary.special_tokens}]
            )
        return _tokenizer(vocabulary)


def _compile(tokenizer: LLTokenizer, lark: str) -> _Compiled | GrammarRefused:
    """Compile a grammar and compute its first mask, which many a grammar is too large for."""
    matcher = LLMatcher(tokenizer, lark, log_level=0, limits=_LIMITS)
    if matcher.is_error():
        return GrammarRefused(_plain(matcher.get_error()))
    compiled = _Compiled(matcher)
    try:
        Constraint(compiled, tokenizer.vocab_size).allowed()
    except GrammarFailed as error:
        return GrammarRefused("No answer obeys it." if error.code == "grammar_dead_end" else str(error))
    return compiled


def _plain(words: str) -> str:
    """Return what llguidance says is wrong, without where in a text that is ours, and without its pictures of it."""
    lines = [line.rstrip() for line in words.splitlines()]
    told = [re.sub(r"^(at )?\d+\(\d+\): ", "", lines[0])] if lines else []
    told += [line.removeprefix("error: ") for line in lines[1:] if line.startswith("error: ")]
    text = " ".join(told)
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}..."


class _Wrapped:
    """A vocabulary as `LLTokenizer` reads it."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self.tokens = vocabulary.pieces
        self.special_token_ids = list(vocabulary.special_tokens)
        self.eos_token_id = vocabulary.ends[0]
        self._tokenize = vocabulary.tokenize

    def __call__(self, text: str) -> list[int]:
        return self._tokenize(text)


def _tokenizer(vocabulary: GrammarVocabulary) -> LLTokenizer:
    return LLTokenizer(_Wrapped(vocabulary), eos_token=vocabulary.ends)  # type: ignore[arg-type] # it looks at names only
