"""Structured output: the `response_format`, regular expression or grammar that a request sets for the content."""

from localrouter.chat.grammar.client_grammar import client_grammar
from localrouter.chat.grammar.output_grammar import ANY_OBJECT, AnyText, Content, JsonSchema, Lark, Regex
from localrouter.schema.generation_fields import GenerationFields
from localrouter.schema.tools import JsonObjectFormat, JsonSchemaFormat


def content_of(request: GenerationFields) -> Content:
    """Return the rules for the content of the output. Raises InvalidRequest for an invalid GBNF grammar."""
    match request.response_format:
        case JsonSchemaFormat(json_schema=named):
            schema = {} if named.schema_ is None else named.schema_
            return JsonSchema(schema, "response_format.json_schema.schema", is_strict=bool(named.strict))
        case JsonObjectFormat():
            return JsonSchema(ANY_OBJECT, "response_format")
    if request.regex is not None:
        return Regex(request.regex, "regex")
    return AnyText() if request.grammar is None else Lark(client_grammar(request.grammar))


def grammar_param(request: GenerationFields) -> str | None:
    """Return the field of the request that its grammar comes from; errors of the grammar name this field."""
    if request.response_format is not None and request.response_format.type != "text":
        return "response_format"
    for name in ("regex", "grammar", "tools", "functions"):
        if getattr(request, name, None):
            return name
    return None
