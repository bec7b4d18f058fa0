"""Grammars of structured output: compiled once, cached, and followed token by token with llguidance.

A client's grammar must not slow other requests down. So it is compiled, and its first mask computed, in another thread
than the engine's, within limits that reject grammars of seconds; the cost of each later token is limited too. The
limits were found with a vocabulary of 152k tokens: an object of 2,000 optional properties takes 0.3 s to compile and
10 ms for each place between properties. 512 tools of nine properties each need twice the symbols of such an object and
take 0.3 to 1 s to compile.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from localrouter.engine.generation_request import Grammar

_CACHED = 32
"""Grammars that are cached: compiled ones, and the errors of rejected ones."""
_LIMITS = LLParserLimits(
    max_grammar_size=60_000,
    initial_lexer_fuel=700_000,
    max_items_in_row=8_000,
    step_max_items=50_000,
    step_lexer_fuel=200_000,
    max_lexer_states=50_000,
    verbose_errors=False,
)
_MAX_MESSAGE = 400
"""Characters of an error message of llguidance; it may quote a whole schema."""


class GrammarRefused(Exception):
    """A grammar that cannot be used. The client that sent it reads the message."""


class GrammarFailed(Exception):
    """An output cannot continue by its grammar; `code` is a stable word for the reason."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class GrammarVocabulary:
    """Vocabulary in the form that grammars need."""

    pieces: list[bytes]
    """Bytes of every token, special tokens included."""
    special_tokens: Sequence[int]
    """Tokens that are never part of text: a grammar allows them only where it names them by their ids."""
    ends: list[int]
    """Tokens that end an output; not empty."""
    tokenize: Callable[[str], list[int]]
    """Function from plain text to tokens, none of them special. It is called from several threads."""


@dataclass
class _Compiled:
    """A compiled grammar. Its outputs share the lexer states that llguidance computes, and the limits of these."""

    matcher: LLMatcher
    is_spent: bool = False
    """Whether an output reached one of these limits: then all others fail at the same place."""


class Constraint:
    """Position of one output in its grammar."""

    def __init__(self, compiled: _Compiled, vocabulary: int) -> None:
        self._compiled = compiled
        self._matcher = compiled.matcher.deep_copy()
        self._mask = np.zeros(-(-vocabulary // 32), np.uint32)
        self._address = self._mask.ctypes.data

    @property
    def is_complete(self) -> bool:
        """Whether only the end can follow."""
        return self._matcher.is_stopped()

    def allowed(self) -> int | NDArray[np.uint8]:
        """Return the tokens that may come next: a single one, or a bit for each, the lowest bit of a byte first.

        The bits are valid until the next call. Raises GrammarFailed.
        """
        self._matcher.unsafe_compute_mask_ptr(self._address, self._mask.nbytes)
        self._check()
        if np.bitwise_count(self._mask).sum() > 1:
            return self._mask.view(np.uint8)
        word = int(self._mask.argmax())
        return 32 * word + int(self._mask[word]).bit_length() - 1

    def take(self, token: int) -> None:
        """Advance by a token of the output. Raises GrammarFailed."""
        self._matcher.consume_token(token)
        self._check()

    def allows(self, tokens: Collection[int]) -> bool:
        """Whether all of these tokens may come next, one after the other."""
        return self._matcher.validate_tokens(list(tokens)) == len(tokens)

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        message = self._matcher.get_error()
        if message.startswith("NoExtension"):
            raise GrammarFailed("The grammar leaves nothing to be said at this place.", "grammar_dead_end")
        self._compiled.is_spent = True
        raise GrammarFailed(f"The grammar cannot be followed any further: {_plain(message)}", "grammar_failed")


class GrammarCheck(Protocol):
    """Check of grammars before they are compiled."""

    def danger(self, lark: str) -> str | None:
        """Return the reason why a grammar must not be compiled; None when it may be."""
        ...


class Grammars:
    """Compiles grammars for one vocabulary, and caches the most recent ones. For one thread."""

    def __init__(
        self,
        vocabulary: Callable[[], GrammarVocabulary],
        new_check: Callable[[list[bytes]], GrammarCheck] | None = None,
        *,
        cached: int = _CACHED,
        limits: LLParserLimits = _LIMITS,
    ) -> None:
        """`vocabulary` is called with the first grammar: a large one takes a second to prepare.

        `new_check` makes, from the spellings of the special tokens, the check that each new grammar has to pass.
        `cached` is the largest number of compiled grammars that are kept, `limits` are those of llguidance for each.
        """
        self._cached, self._limits = cached, limits
        self._vocabulary = vocabulary
        self._new_check = new_check
        self._check: GrammarCheck | None = None
        self._tokenizer: LLTokenizer | None = None
        self._known: OrderedDict[str, _Compiled | GrammarRefused] = OrderedDict()

    def constraint(self, grammar: Grammar) -> Constraint:
        """Return the constraint of a new output by this grammar. Raises GrammarRefused."""
        if self._tokenizer is None:
            self._tokenizer = self._prepare()
        known = self._known.pop(grammar.lark, None)
        if known is None or (isinstance(known, _Compiled) and known.is_spent):
            danger = self._check.danger(grammar.lark) if self._check else None
            known = _compile(self._tokenizer, grammar.lark, self._limits) if danger is None else GrammarRefused(danger)
        self._known[grammar.lark] = known
        if len(self._known) > self._cached:
            self._known.popitem(last=False)
        if isinstance(known, GrammarRefused):
            raise GrammarRefused(str(known))
        return Constraint(known, self._tokenizer.vocab_size)

    def _prepare(self) -> LLTokenizer:
        vocabulary = self._vocabulary()
        if self._new_check:
            self._check = self._new_check(
                [vocabulary.pieces[token] for token in {*vocabulary.ends, *vocabulary.special_tokens}]
            )
        return _tokenizer(vocabulary)


def _compile(tokenizer: LLTokenizer, lark: str, limits: LLParserLimits) -> _Compiled | GrammarRefused:
    """Compile a grammar and compute its first mask, for which large grammars exceed the limits; return the result."""
    matcher = LLMatcher(tokenizer, lark, log_level=0, limits=limits)
    if matcher.is_error():
        return GrammarRefused(_plain(matcher.get_error()))
    compiled = _Compiled(matcher)
    try:
        Constraint(compiled, tokenizer.vocab_size).allowed()
    except GrammarFailed as error:
        return GrammarRefused("No answer obeys it." if error.code == "grammar_dead_end" else str(error))
    return compiled


def _plain(message: str) -> str:
    """Return llguidance's error without its positions and excerpts, which are of generated Lark."""
    lines = [line.rstrip() for line in message.splitlines()]
    errors = [re.sub(r"^(at )?\d+\(\d+\): ", "", lines[0])] if lines else []
    errors += [line.removeprefix("error: ") for line in lines[1:] if line.startswith("error: ")]
    text = " ".join(errors)
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."


class _Wrapped:
    """Vocabulary with the attributes that `LLTokenizer` reads."""

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
    return LLTokenizer(_Wrapped(vocabulary), eos_token=vocabulary.ends)  # type: ignore[arg-type] # duck-typed
