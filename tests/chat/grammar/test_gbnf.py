"""GBNF grammars: their outputs are those of llama.cpp's grammar language, character by character."""

from collections.abc import Iterator, Mapping
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from localrouter.chat.grammar.gbnf import (
    Characters,
    Choice,
    GbnfError,
    Node,
    Reference,
    Repetition,
    Series,
    Text,
    is_gbnf,
    read_gbnf,
)
from localrouter.chat.grammar.gbnf_lark import gbnf_to_lark
from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.grammar.constraint import _tokenizer
from localrouter.load_options import LoadOptions

VOCABULARY = EchoBackend(LoadOptions()).grammar_vocabulary()
TOKENIZER: LLTokenizer = _tokenizer(VOCABULARY)

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::= "[" ws ( value ("," ws value)* )? "]" ws

string ::= "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # an escape
  )* "\"" ws

number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
# White space.
ws ::= | " " | "\n" [ \t]{0,20}
"""
ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
LIST = 'root ::= item+\nitem ::= "- " [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ "\\n"'
MOVES = r"""
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")*
move ::= (pawn | piece | castle) [+#]?
piece ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"""
STATEMENTS = r"""
root ::= statement*
statement ::= "if " name block | "while " name block | name "=" name ";"
block ::= "{" statement* "}"
name ::= [a-z]+
"""


def accepts(lark: str, text: str) -> bool:
    """Return whether the whole text is an output of a Lark grammar."""
    matcher = LLMatcher(TOKENIZER, lark, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        (
            JSON,
            ['{"a": [1, -2.5e+3, {"b": null}]}', "{}", '{"é\\u00e9\\"": ""}\n  '],
            ["[]", '{"a"  : 1}', '{"a": 01}'],
        ),
        (ARITHMETIC, ["a1 = 2\n", "(x+3)*y=z\n\nb=1\n"], ["a=\n", "a=b", "1a=2\n"]),
        (LIST, ["- eggs\n- more € eggs\n", "- -\n"], ["", "- eggs", "eggs\n", "- a\u2028\n"]),
        (MOVES, ["1. e4 e5\n", "1. Nf3 exd5\n2. O-O O-O-O+\n", "1. a8=Q Rab1\n"], ["1. e4\n", "1. e9 e5\n"]),
        (STATEMENTS, ["", "if iffy{while x{a=b;}}", "ifx=whiles;"], ["if {}", "if a b=c;", "a=b"]),
        ('root ::= [a-z]+ "b"', ["ab", "bb", "abab"], ["b", "a", "aba"]),
        ('root ::= "(" root ")" | [a-z]* "b" | word "!"\nword ::= [a-c]+', ["((ab))", "b", "(abc!)"], ["(a)", "!"]),
        ('root ::= "x" root? [a-b]{2} "b"?', ["xabb", "xxababb", "xaa"], ["xa", "xabbb"]),
        (
            r'root ::= "\x41\u00e9\U0001F600\t\"\[" [\]^-] .',
            ['A\u00e9\U0001f600\t"[]\n', 'A\u00e9\U0001f600\t"[^€'],
            ["A"],
        ),
        ('root ::=\n  "a" |\n  "b"\n  | "c" # last\n', ["a", "b", "c"], ["", "ab"]),
        ('root ::= a-b | "" \r\na-b ::= ("x"|"y"){2,} "z"{0,1} "w"{0}', ["", "xy", "xxxz"], ["x", "xyw"]),
        ('root ::= "/" [/\\\\] "$" # a "comment"', ["//$", "/\\$"], ["/a$"]),
    ],
    ids=[
        "JSON",
        "arithmetic",
        "list",
        "chess",
        "keywords",
        "greed",
        "recursion",
        "tail",
        "escapes",
        "lines",
        "times",
        "signs",
    ],
)
def test_outputs_are_those_of_the_grammar(grammar: str, right: list[str], wrong: list[str]) -> None:
    assert is_gbnf(grammar)
    lark = gbnf_to_lark(grammar)

    assert [text for text in right if not accepts(lark, text)] == []
    assert [text for text in wrong if accepts(lark, text)] == []


def texts(length: int) -> Iterator[str]:
    return ("".join(letters) for size in range(length + 1) for letters in product("ab", repeat=size))


def ends(rules: Mapping[str, Node], text: str) -> set[int]:
    """Return where matches of `root` end that begin with the text: by iteration, until nothing is added."""
    known: dict[tuple[str, int], set[int]] = {}
    wanted = {("root", 0)}
    while True:
        before = {key: set(value) for key, value in known.items()}
        for name, start in tuple(wanted):
            known[name, start] = _ends(rules[name], start, text, known, wanted)
        if known == before and wanted == known.keys():
            return known["root", 0]


def _ends(
    node: Node, start: int, text: str, known: dict[tuple[str, int], set[int]], wanted: set[tuple[str, int]]
) -> set[int]:
    match node:
        case Characters(ranges, negated):
            fits = start < len(text) and any(a <= ord(text[start]) <= b for a, b in ranges) != negated
            return {start + 1} if fits else set()
        case Text(own):
            return {start + len(own)} if text.startswith(own, start) else set()
        case Reference(name):
            wanted.add((name, start))
            return known.get((name, start), set())
        case Choice(items):
            return set().union(*(_ends(item, start, text, known, wanted) for item in items))
        case Series(items):
            places = {start}
            for item in items:
                places = set().union(*(_ends(item, place, text, known, wanted) for place in places))
            return places
        case Repetition(item, least, most):
            reached, found = {start}, {start} if least == 0 else set()
            for count in range(1, (len(text) + least + 1 if most is None else most) + 1):
                reached = set().union(*(_ends(item, place, text, known, wanted) for place in reached))
                found |= reached if count >= least else set()
            return found


atoms = st.sampled_from(['"a"', '"b"', '"ab"', '""', "[ab]", "[^a]", "a-rule", "other", "root"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda items: f"({' '.join(items)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: f"({' | '.join(items)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,1}"])).map("".join),
    ),
    max_leaves=6,
)


@given(expressions, expressions, expressions)
@settings(max_examples=50)
def test_any_grammar_accepts_what_a_search_by_characters_accepts(root: str, one: str, other: str) -> None:
    grammar = f'root ::= "a" {root} | "b"\na-rule ::= {one} | "b"\nother ::= "b" {other}'
    rules = read_gbnf(grammar)
    lark = gbnf_to_lark(grammar)

    for text in texts(4):
        assert accepts(lark, text) is (len(text) in ends(rules, text)), (text, lark)


def test_text_without_ambiguity_is_a_terminal_also_in_a_grammar_with_recursion() -> None:
    """Masks of single characters take a hundred times as long."""
    lark = gbnf_to_lark(JSON)

    assert any(line.startswith("STRING_") for line in lark.splitlines())
    assert not any(line.startswith(("string_", "number_")) for line in lark.splitlines())


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ('start ::= "a"', "no rule 'root'"),
        ('root ::= "a" other', "line 1: there is no rule 'other'"),
        ('root ::= "a"\nroot ::= "b"', "line 2: the rule 'root' is defined twice"),
        ('root ::= "a', "line 1: '\"a' is not understood"),
        ("root ::= [a", "line 1: '[a' is not understood"),
        ("root ::= [z-a]", "ends before it begins"),
        ("root ::= []", "is empty"),
        ("root ::= [^]", "is empty"),
        ('root ::= ("a"', "this group has no end"),
        ('root ::= "a")', "expected a rule, not ')'"),
        ('root ::= * "a"', "expected a rule, not '*'"),
        ('root ::= "\\q"', "the escape '\\q' is not known"),
        ('root ::= "\\xg0"', "the escape '\\x' is not known"),
        ('root ::= "\\ud800"', "is not a character"),
        ('root ::= "\\U00110000"', "is not a character"),
        ('root ::= "a"{2,1}', "repeats nothing that often"),
        ('root ::= "a"{999999}', "repeats nothing that often"),
        ('root ::= "a"{1 2}', "is not understood"),
        ('root ::= "a"{,2}', "is not understood"),
        ("root ::= <think>", "is not understood"),
        ("root ::= <[1000]>", "is not understood"),
        ('a ::= b ::= "x"', "no rule 'root'"),
        ("root ::= " + "(" * 60, "nested deeper than 50"),
        ('root ::= "a"' + "*" * 60, "too many repetitions"),
        ('root ::= "' + "a" * 40_000 + '"', "too large"),
        ('root ::= "a"{1' + " " * 100_000 + "x}", "is not understood"),
    ],
)
def test_a_mistake_is_named_with_its_line(grammar: str, message: str) -> None:
    assert is_gbnf(grammar)
    with pytest.raises(GbnfError) as caught:
        gbnf_to_lark(grammar)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "grammar",
    [
        "\n".join(["root ::= root r0", *(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(60)), 'r60 ::= "a"']),
        "root ::= root (" + " | ".join(f'[a-z]+ root "x{i}"' for i in range(400)) + ")",
        "root ::= root (" + "[a-z]* " * 1000 + ")*",
    ],
    ids=["doubling", "many terminals", "many loops"],
)
def test_a_grammar_that_takes_too_long_to_look_into_is_divided_into_characters(grammar: str) -> None:
    lark = gbnf_to_lark(grammar)

    assert all(name == name.lower() for name, _, _ in (line.partition(":") for line in lark.splitlines()))


@given(st.text('root:=|()[]{}*+?."\\ \n#-^ax1,', max_size=40))
def test_any_text_is_a_grammar_or_has_a_mistake(text: str) -> None:
    try:
        lark = gbnf_to_lark(f"root ::= {text}")
    except GbnfError:
        return
    assert lark.startswith("start: root_0\n")


LARK = ["start: /a/", '%llguidance {}\nstart: "root ::= a"', 'start: "a"\n// root ::= "b"', "start: a\na: /[:=]+/"]


@pytest.mark.parametrize("grammar", LARK)
def test_lark_is_not_taken_for_gbnf(grammar: str) -> None:
    assert not is_gbnf(grammar)
