"""The body of one property of a function's arguments, in a syntax of calls that cannot have every schema."""

import json
from collections.abc import Callable

from localrouter.chat.grammar.lark import LarkGrammar
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.schema_fault import Gaps, SchemaFault, UnspellableName


def unspellable(name: str) -> UnspellableName:
    """Return the fault of a property whose name a syntax of calls cannot spell."""
    message = f"This model's calls cannot name a parameter {json.dumps(name)}."
    return UnspellableName(message, ("properties",), "unsupported_schema")


def property_body(
    grammar: LarkGrammar, gaps: Gaps | None, name: str, schema: Read, write: Callable[[str, Read], str]
) -> str | None:
    """Return the body that `write` writes for a property, or None for one whose name cannot be spelled.

    A schema beyond the syntax is noted in `gaps`, and the property may have any value. Without `gaps` it raises
    SchemaFault.
    """
    before = grammar.position
    try:
        return write(name, schema)
    except SchemaFault as fault:
        if gaps is None:
            raise
        grammar.return_to(before)
        gaps.add(SchemaFault(fault.message, ("properties", name), fault.reason))
        return None if isinstance(fault, UnspellableName) else write(name, {})
