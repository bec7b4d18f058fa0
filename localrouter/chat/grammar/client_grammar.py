"""The `grammar` of a request, which is written in llguidance's dialect of Lark or in llama.cpp's GBNF."""

from localrouter.chat.grammar.gbnf import GbnfError, is_gbnf
from localrouter.chat.grammar.gbnf_lark import gbnf_to_lark
from localrouter.errors import InvalidRequest


def client_grammar(grammar: str) -> str:
    """Return a client's grammar as Lark. Raises InvalidRequest for a mistake in GBNF; Lark is checked later."""
    if not is_gbnf(grammar):
        return grammar
    try:
        return gbnf_to_lark(grammar)
    except GbnfError as error:
        raise InvalidRequest(
            f"The grammar has rules with '::=' and was read as GBNF: {error}.", param="grammar", code="invalid_grammar"
        ) from None
