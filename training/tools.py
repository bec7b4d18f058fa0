"""Generator of invented tools, requests that share their key words, and the matching tool calls."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from training.lexicon import ACTION_VERBS, ADJECTIVES, LOOKUP_VERBS, Lexicon, number
from training.patterns import patterns, words
from training.tool_case import Case, Meaning, Style, define

TEXT_ARGUMENTS = words("tools", "text_arguments")
NUMBER_ARGUMENTS = words("tools", "number_arguments")
QUERY_ARGUMENTS = words("tools", "query_arguments")
PAIRS = (
    ("from", "to"),
    ("source", "target"),
    ("start", "end"),
    ("origin", "destination"),
    ("old_name", "new_name"),
    ("from_city", "to_city"),
    ("first", "second"),
    ("src", "dst"),
)
NUMBER_PAIRS = (("a", "b"), ("x", "y"), ("first", "second"), ("left", "right"), ("m", "n"), ("num1", "num2"))
ARITHMETIC = {
    "add": ("plus", "+", "sum"),
    "subtract": ("minus", "-", "difference"),
    "multiply": ("times", "*", "product"),
    "divide": ("divided by", "/", "quotient"),
    "sum": ("plus", "+", "sum"),
    "power": ("to the power of", "^", "power"),
    "modulo": ("modulo", "%", "remainder"),
}
ENUMS = (
    ("unit", ("celsius", "fahrenheit")),
    ("units", ("metric", "imperial")),
    ("format", ("short", "long")),
    ("mode", ("fast", "slow", "auto")),
    ("language", ("english", "dutch", "french")),
    ("color", ("red", "green", "blue")),
    ("size", ("small", "medium", "large")),
    ("state", ("on", "off")),
    ("order", ("ascending", "descending")),
)


def style(rng: Random, lexicon: Lexicon) -> Style:
    """Sample a naming style, snake_case most often."""
    join = rng.choices(("_", "camel", "-"), (76, 14, 10))[0]
    prefix = suffix = ""
    if join == "_" and rng.random() < 0.12:
        prefix = rng.choice(("do_", "api_", "my_", "tool_", "run_", "x_", f"{lexicon.invented(rng)}_"))
    if join == "_" and rng.random() < 0.1:
        suffix = rng.choice(("_v2", "_tool", "_by_name", "_now", "_api", f"_{lexicon.invented(rng)}"))
    return Style(join, rng.random() < 0.12, rng.random() < 0.1, prefix, suffix)


def value(rng: Random, lexicon: Lexicon) -> str:
    """Sample a text value: a place, a person, a word, an identifier or a path."""
    makers: tuple[Callable[[], str], ...] = (
        lambda: lexicon.place(rng),
        lambda: lexicon.name(rng),
        lambda: lexicon.invented(rng),
        lambda: rng.choice(("A", "B", "X", "ID", "No", "K")) + rng.choice(("", "-")) + number(rng),
        lambda: lexicon.letters(rng, 5),
        lambda: _path(rng, lexicon),
        lambda: lexicon.phrase(rng, 2, 2),
        lambda: number(rng),
    )
    return rng.choices(makers, (31, 26, 11, 8, 7, 6, 6, 5))[0]()


def _path(rng: Random, lexicon: Lexicon) -> str:
    folder = rng.choice(("", "/tmp/", "data/", "src/", f"/{lexicon.invented(rng)}/"))
    return f"{folder}{lexicon.noun(rng)}.{rng.choice(('txt', 'csv', 'md', 'py', 'json', 'pdf'))}"


def _describe(rng: Random, meaning: Meaning, argument: str) -> str:
    pattern = "" if rng.random() < 0.06 else rng.choice(patterns("tools", "descriptions"))
    return _fill(pattern, meaning, a=argument.replace("_", " "))


def _fill(pattern: str, meaning: Meaning, **slots: str) -> str:
    verb, noun, phrase = meaning.verb, meaning.noun, meaning.phrase
    words = {"n": phrase, "N": phrase.capitalize(), "f": noun[0], "l": noun[-1], "w": verb, "V": verb.capitalize()}
    return pattern.format(**words, **slots)


def _text_argument(rng: Random, lexicon: Lexicon) -> str:
    return lexicon.invented(rng) if rng.random() < 0.25 else rng.choice(TEXT_ARGUMENTS)


def _number_argument(rng: Random, lexicon: Lexicon) -> str:
    return lexicon.invented(rng) if rng.random() < 0.25 else rng.choice(NUMBER_ARGUMENTS)


def _numeric(rng: Random) -> tuple[str, str, Any]:
    """A number as text, the JSON type that asks for it, and the value in that type."""
    text = number(rng)
    kind = rng.choices(("integer", "number", "string"), (6, 3, 2))[0]
    if kind == "number" and rng.random() < 0.4:
        text = f"{int(text) % 1000}.{rng.randint(1, 99)}".rstrip("0")
    return text, kind, text if kind == "string" else float(text) if "." in text else int(text)


def _extra(rng: Random, lexicon: Lexicon, taken: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """A second parameter that may or may not be given: its schema, its argument, the words that give it."""
    if rng.random() < 0.35:
        name, choices = rng.choice(ENUMS)
        chosen = rng.choice(choices)
        words = rng.choice((" in {c}", " with {a} {c}", ", {c}", " ({c})", " as {c}")).format(a=name, c=chosen)
        schema: dict[str, Any] = {name: {"type": "string", "enum": list(choices)}}
        given: dict[str, Any] = {name: chosen}
    elif rng.random() < 0.6:
        name = _number_argument(rng, lexicon)
        text, kind, amount = _numeric(rng)
        words = rng.choice((" for {k} {a}", " with {a} {k}", ", {k} {a}", " in {k} {a}", " and {a} {k}"))
        words = words.format(a=name.replace("_", " "), k=text)
        schema, given = {name: {"type": kind}}, {name: amount}
    else:
        name = _text_argument(rng, lexicon)
        second = value(rng, lexicon)
        words = rng.choice((" with {a} {c}", " and {a} {c}", ", {a} {c}")).format(a=name.replace("_", " "), c=second)
        schema, given = {name: {"type": "string"}}, {name: second}
    if name == taken:
        return {}, {}, ""
    return (schema, {}, "") if rng.random() < 0.3 else (schema, given, words)


def _with_value(requests: list[str], owned: list[str]) -> Maker:
    """A maker of tools with one text parameter and, at times, a second one; `owned` is for nouns of two words."""

    def make(rng: Random, lexicon: Lexicon, meaning: Meaning, name: str) -> Case:
        argument = _text_argument(rng, lexicon)
        schema, given, words = _extra(rng, lexicon, argument) if rng.random() < 0.3 else ({}, {}, "")
        chosen = value(rng, lexicon)
        shown = f'"{chosen}"' if rng.random() < 0.07 else chosen
        tool = define(name, _describe(rng, meaning, argument), {argument: {"type": "string"}, **schema})
        split = owned and len(meaning.noun) == 2 and rng.random() < 0.4
        request = _fill(
            rng.choice(owned if split else requests), meaning, v=shown, x=words, a=argument.replace("_", " ")
        )
        return Case(tool, request, {argument: chosen, **given}, meaning.words)

    return make


def _with_number(rng: Random, lexicon: Lexicon, meaning: Meaning, name: str) -> Case:
    argument = _number_argument(rng, lexicon)
    text, kind, amount = _numeric(rng)
    tool = define(name, _describe(rng, meaning, argument), {argument: {"type": kind}})
    request = _fill(rng.choice(patterns("tools", "numbered")), meaning, k=text, a=argument.replace("_", " "))
    return Case(tool, request, {argument: amount}, meaning.words)


def _with_phrase(requests: list[str]) -> Maker:
    def make(rng: Random, lexicon: Lexicon, meaning: Meaning, name: str) -> Case:
        argument = rng.choice(QUERY_ARGUMENTS) if rng.random() < 0.8 else lexicon.invented(rng)
        chosen = lexicon.phrase(rng, 1, 5)
        tool = define(name, _describe(rng, meaning, argument), {argument: {"type": "string"}})
        return Case(tool, _fill(rng.choice(requests), meaning, v=chosen), {argument: chosen}, meaning.words)

    return make


def _with_pair(rng: Random, lexicon: Lexicon, meaning: Meaning, name: str) -> Case:
    first, second = rng.choice(PAIRS)
    one, two = value(rng, lexicon), value(rng, lexicon)
    tool = define(name, _describe(rng, meaning, first), {first: {"type": "string"}, second: {"type": "string"}})
    request = _fill(rng.choice(patterns("tools", "routes")), meaning, v=one, v2=two)
    return Case(tool, request, {first: one, second: two}, meaning.words)


def _with_message(rng: Random, lexicon: Lexicon, meaning: Meaning, name: str) -> Case:
    first = _text_argument(rng, lexicon)
    second = rng.choice(("text", "body", "message", "content", "note", lexicon.invented(rng)))
    one, two = value(rng, lexicon), lexicon.phrase(rng, 2, 6)
    tool = define(name, _describe(rng, meaning, first), {first: {"type": "string"}, second: {"type": "string"}})
    request = _fill(rng.choice(patterns("tools", "messages")), meaning, v=one, v2=two)
    return Case(tool, request, {first: one, second: two}, meaning.words)


def _bare(rng: Random, _: Lexicon, meaning: Meaning, name: str) -> Case:
    description = "" if rng.random() < 0.1 else _fill(rng.choice(patterns("tools", "descriptions")[:3]), meaning)
    return Case(define(name, description, {}), _fill(rng.choice(patterns("tools", "bare")), meaning), {}, meaning.words)


Maker = Callable[[Random, Lexicon, Meaning, str], Case]
_lookup = _with_value(patterns("tools", "lookups"), patterns("tools", "owned"))
_action = _with_value(patterns("tools", "actions"), [])
_LOOKUP_MAKERS: tuple[Maker, ...] = (_lookup,) * 8 + (_with_phrase(patterns("tools", "searches")), _with_pair, _bare)
_ACTION_MAKERS: tuple[Maker, ...] = (
    *(_action,) * 5,
    *(_with_number,) * 3,
    _with_phrase(patterns("tools", "texts")),
    _with_pair,
    _with_message,
    _bare,
)


def arithmetic(rng: Random, lexicon: Lexicon) -> Case:
    """Sample a tool on two numbers, with a known or an invented verb."""
    verb = rng.choice(list(ARITHMETIC)) if rng.random() < 0.7 else lexicon.invented(rng)
    word, sign, noun = ARITHMETIC.get(verb, (verb, verb, verb))
    first, second = rng.choice(NUMBER_PAIRS)
    one, two = _numeric(rng), _numeric(rng)
    request = rng.choice(patterns("tools", "sums"))
    request = request.format(a=one[0], b=two[0], w=word, s=sign, n=noun, v=verb, V=verb.capitalize())
    description = rng.choice(patterns("tools", "sum_descriptions")).format(V=verb.capitalize(), n=noun)
    name = rng.choice(("{v}", "{v}", "{v}_numbers", "{v}_two_numbers", "calc_{v}", "math_{v}")).format(v=verb)
    tool = define(name, description, {first: {"type": one[1]}, second: {"type": two[1]}})
    return Case(tool, request, {first: one[2], second: two[2]}, frozenset((verb, noun)))


def _noun(rng: Random, lexicon: Lexicon) -> tuple[str, ...]:
    draw = rng.random()
    if draw < 0.68:
        return (lexicon.noun(rng),)
    if draw < 0.84:
        return (rng.choice(ADJECTIVES), lexicon.noun(rng))
    return (lexicon.noun(rng), lexicon.noun(rng))


def _verb(rng: Random, lexicon: Lexicon, lookup: bool) -> str:
    if lookup:
        return rng.choice(LOOKUP_VERBS[:6]) if rng.random() < 0.6 else rng.choice(LOOKUP_VERBS)
    return rng.choice(ACTION_VERBS) if rng.random() < 0.65 else lexicon.invented(rng)


def _near(rng: Random, lexicon: Lexicon, meaning: Meaning, lookup: bool) -> Meaning:
    """A meaning that shares a word with the given one, so that only the other words tell them apart."""
    draw = rng.random()
    if not lookup and draw < 0.4:
        return Meaning(_verb(rng, lexicon, lookup), meaning.noun)
    if draw < 0.6:
        return Meaning(meaning.verb, _noun(rng, lexicon))
    if draw < 0.8:
        return Meaning(meaning.verb, (*meaning.noun[:-1], lexicon.noun(rng)))
    if draw < 0.9:
        return Meaning(meaning.verb, (lexicon.noun(rng), meaning.noun[-1]))
    return Meaning(meaning.verb, (*meaning.noun, lexicon.noun(rng)))


def offer(rng: Random, lexicon: Lexicon, count: int) -> tuple[list[Case], Case]:
    """Sample `count` tools in random order, most lists with near-identical names, and the requested one."""
    names = style(rng, lexicon)
    lookup = rng.random() < 0.58
    if names.bare:
        lookup = True
    target = Meaning(_verb(rng, lexicon, lookup), _noun(rng, lexicon))
    meanings = [target]
    similar = rng.random() < 0.75
    while len(meanings) < count:
        fresh_lookup = lookup if similar or names.bare else rng.random() < 0.58
        fresh = Meaning(_verb(rng, lexicon, fresh_lookup), _noun(rng, lexicon))
        other = _near(rng, lexicon, rng.choice(meanings), lookup) if similar else fresh
        if names.name(other) not in [names.name(meaning) for meaning in meanings]:
            meanings.append(other)
    makers = _LOOKUP_MAKERS if lookup else _ACTION_MAKERS
    cases = [rng.choice(makers)(rng, lexicon, meaning, names.name(meaning)) for meaning in meanings]
    if rng.random() < 0.1:
        cases[rng.randrange(count)] = arithmetic(rng, lexicon)
    asked = rng.choice(cases)
    rng.shuffle(cases)
    fits = sorted(case.fit(asked.request) for case in cases)
    clear = asked.fit(asked.request) == fits[-1] and (count == 1 or fits[-2] < fits[-1])
    return (cases, asked) if clear else offer(rng, lexicon, count)
