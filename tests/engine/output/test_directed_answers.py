"""Requests with a grammar, reasoning and its budget, and delimiters, in the engine."""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from conversations import ask, end_of, prompt, run, text_of
from hypothesis import given, settings
from hypothesis import strategies as st
from wild_backend import WildBackend

import localrouter
from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.echo import END, START, VOCABULARY, EchoBackend
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Grammar, Sampling, Segment, Thinking, ToolCalls
from localrouter.engine.messages import Accepted, Event, Finished, Generate, Piece, TokenUsage
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
THINKING = Thinking("<think>", "</think>")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
OBJECT = Grammar(f"start: %json {json.dumps(SCHEMA)}")


def echo(cells: int | None = None, max_sequences: int = 8) -> Engine:
    return Engine(EchoBackend(LoadOptions(context=400, cells=cells, max_sequences=max_sequences)))


class Saying(EchoBackend):
    """Says these tokens after a prompt of one, then ends."""

    def __init__(self, tokens: list[int]) -> None:
        super().__init__(LoadOptions(context=400))
        self.said = [*tokens, END]

    def decode(self, batch: Batch) -> Logits:
        super().decode(batch)
        logits = np.full((len(batch.outputs), VOCABULARY), -9, np.float32)
        for row, output in enumerate(batch.outputs):
            logits[row, self.said[batch.positions[output]]] = 9
        return logits


def say(tokens: list[int], command: Generate) -> list[Event]:
    """Return what comes of a request to a model that would say these tokens."""
    return run(Engine(Saying(tokens)), command)


def one_token(
    sampling: Sampling | None = None,
    *,
    thinking: Thinking | None = None,
    delimiters: tuple[str, ...] = (),
    grammar: Grammar | None = None,
) -> Generate:
    """Return a request with a prompt of one token."""
    return Generate(
        1, GenerationRequest([Segment("?", False)], sampling or Sampling(0), None, grammar, thinking, delimiters)
    )


@pytest.mark.slow
@given(st.integers(0, 1 << 32))
@settings(max_examples=20)
def test_outputs_that_end_by_themselves_follow_the_grammar_also_when_preempted(seed: int) -> None:
    engine = Engine(WildBackend(seed))
    commands = [Generate(n, GenerationRequest(prompt("x" * 40), Sampling(seed=n), 150, OBJECT)) for n in range(4)]

    events = run(engine, *commands)

    for command in commands:
        if end_of(events, command.id).reason == "stop":
            assert set(json.loads(text_of(events, command.id))) == {"city", "big"}


def test_an_output_that_can_only_end_ends_without_another_token() -> None:
    events = run(
        echo(),
        Generate(1, GenerationRequest(prompt("true, and more"), Sampling(), None, Grammar('start: "true" | "false"'))),
    )

    assert text_of(events, 1) == "true"
    assert (end_of(events, 1).reason, end_of(events, 1).usage.completion_tokens) == ("stop", 4)


def test_an_output_complete_with_its_last_allowed_token_ends_with_stop() -> None:
    events = run(
        echo(), Generate(1, GenerationRequest(prompt("true"), Sampling(), 4, Grammar('start: "true" | "false"')))
    )

    assert end_of(events, 1).reason == "stop"


def test_an_output_cut_inside_the_grammar_ends_with_length() -> None:
    events = run(
        echo(), Generate(1, GenerationRequest(prompt("true"), Sampling(), 3, Grammar('start: "true" | "false"')))
    )

    assert (text_of(events, 1), end_of(events, 1).reason) == ("tru", "length")


def test_a_grammar_that_is_wrong_is_refused_before_anything_is_queued() -> None:
    engine = echo()
    event = engine.submit(Generate(1, GenerationRequest(prompt("hi"), grammar=Grammar("start: foo"))))

    assert isinstance(event, Finished)
    assert (event.reason, event.code, event.message) == ("error", "invalid_grammar", 'unknown name: "foo"')
    assert engine.is_idle


def test_a_model_that_finds_all_that_is_allowed_impossible_ends_with_an_error_and_spares_its_neighbour() -> None:
    wrong = Generate(1, GenerationRequest(prompt("zebra"), Sampling(), None, Grammar("start: /[a-y]+/")))

    events = run(echo(), wrong, ask(2, "world"))

    assert end_of(events, 1).code == "grammar_dead_end"
    assert text_of(events, 2) == "world"


def test_log_probabilities_are_those_the_model_had_without_the_grammar() -> None:
    events = say(list(b"no"), one_token(Sampling(0, logprobs=1), grammar=Grammar('start: "yes" | "yet"')))

    tokens = [token for event in events if isinstance(event, Piece) for token in event.logprobs]
    assert [token.piece for token in tokens[:2]] == [b"y", b"e"]
    assert [token.value for token in tokens[:2]] == pytest.approx([-18, -18], abs=1e-3)
    assert tokens[0].top[0][0] == b"n"


def test_reasoning_tokens_are_counted() -> None:
    events = run(echo(), Generate(1, GenerationRequest(prompt("<think>ab</think>cd"), thinking=THINKING)))

    assert text_of(events, 1) == "<think>ab</think>cd"
    assert end_of(events, 1).usage.reasoning_tokens == 1 + len("ab</think>")


def test_a_spent_budget_is_ended_in_good_order() -> None:
    budget = Thinking("<think>", "</think>", is_open=False, budget=3)
    events = run(echo(), Generate(1, GenerationRequest(prompt("<think>abcdefghijklmnop"), thinking=budget)))

    assert text_of(events, 1) == "<think>abc\n</think>mnop"
    assert end_of(events, 1).usage.reasoning_tokens == 1 + 3 + len("\n</think>")


def test_max_tokens_limits_the_end_of_reasoning_too() -> None:
    budget = Thinking("<think>", "</think>", is_open=True, budget=2)
    events = run(echo(), Generate(1, GenerationRequest(prompt("abcdefghijklmnop"), Sampling(), 5, thinking=budget)))

    assert (text_of(events, 1), end_of(events, 1).reason) == ("ab\n</", "length")


def test_reasoning_does_not_end_inside_a_character() -> None:
    budget = Thinking("<think>", "</think>", is_open=True, budget=1)
    events = run(echo(), Generate(1, GenerationRequest(prompt("€" + "x" * 12), thinking=budget)))

    assert text_of(events, 1).startswith("€\n</think>")


def test_reasoning_ends_where_the_grammar_allows_it() -> None:
    budget = Thinking("<think>", "</think>", is_open=True, budget=0)
    grammar = Grammar('start: "thought: " /[^<]*/ "</think>" /[a-z]*/')
    events = run(
        echo(), Generate(1, GenerationRequest(prompt("thought: one two threexx"), Sampling(), 30, grammar, budget))
    )

    assert text_of(events, 1).startswith("thought: \n</think>")


def test_forced_end_tokens_are_reported_with_the_log_probabilities_of_the_model() -> None:
    budget = Thinking("<think>", "</think>", is_open=True, budget=1)
    events = say(list(b"a" * 20), one_token(Sampling(0, logprobs=1), thinking=budget))

    tokens = [token for event in events if isinstance(event, Piece) for token in event.logprobs]
    assert b"".join(token.piece for token in tokens).startswith(b"a\n</think>a")
    assert tokens[1].value == pytest.approx(-18, abs=1e-3)
    assert tokens[1].top[0][0] == b"a"


def test_stop_strings_apply_to_text_only() -> None:
    how = Sampling(stop=("b",))
    events = run(echo(), Generate(1, GenerationRequest(prompt("a<think>abc</think>abc"), how, thinking=THINKING)))

    assert (text_of(events, 1), end_of(events, 1).reason) == ("a<think>abc</think>a", "stop")


def test_control_tokens_are_silent_unless_they_are_markers() -> None:
    tokens = [START, ord("a")]

    assert text_of(say(tokens, one_token()), 1) == "a"
    assert text_of(say(tokens, one_token(delimiters=("<|im_start|>",))), 1) == "<|im_start|>a"


def test_the_bytes_of_a_delimiter_are_reported_with_its_log_probability() -> None:
    events = say([START, ord("a")], one_token(Sampling(0, logprobs=1), delimiters=("<|im_start|>",)))

    tokens = [token for event in events if isinstance(event, Piece) for token in event.logprobs]
    assert [token.piece for token in tokens] == [b"<|im_start|>", b"a"]
    assert tokens[0].top[0][0] == b"<|im_start|>"


def test_control_tokens_that_delimit_reasoning_are_found() -> None:
    events = say([START, ord("a"), ord("b")], one_token(thinking=Thinking("<|im_start|>", "b")))

    assert text_of(events, 1) == "<|im_start|>ab"
    assert end_of(events, 1).usage.reasoning_tokens == 3


@pytest.fixture(scope="module")
def demo() -> Engine:
    return Engine(LlamaBackend(DEMO, LoadOptions(threads=1, cells=2048, max_sequences=4)))


def test_outputs_of_the_embedded_model_follow_a_schema(demo: Engine) -> None:
    commands = [
        Generate(n, GenerationRequest(prompt("Where is Rome?"), Sampling(seed=n), 300, OBJECT)) for n in range(6)
    ]

    events = run(demo, *commands)

    for command in commands:
        assert end_of(events, command.id).reason == "stop"
        assert set(json.loads(text_of(events, command.id))) == {"city", "big"}


def test_the_same_seed_has_the_same_output_by_a_grammar_beside_other_requests(demo: Engine) -> None:
    def mine() -> Generate:
        return Generate(1, GenerationRequest(prompt("Where is Rome?"), Sampling(seed=5), 300, OBJECT))

    alone = text_of(run(demo, mine()), 1)
    others = [Generate(n, GenerationRequest(prompt("Hi"), Sampling(seed=n), 40)) for n in (2, 3)]

    assert text_of(run(demo, mine(), *others), 1) == alone


def test_reasoning_and_a_schema_go_together_in_the_tokens_of_a_model(demo: Engine) -> None:
    begin, end = (demo.backend.info.special_tokens[mark] for mark in ("<think>", "</think>"))
    grammar = Grammar(f"start: <[{begin}]> /(.|\\n)*/ <[{end}]> object\nobject: %json {json.dumps(SCHEMA)}")
    thinking = Thinking("<think>", "</think>", budget=5)

    events = run(
        demo, Generate(1, GenerationRequest(prompt("Where is Rome?"), Sampling(seed=1), 300, grammar, thinking))
    )

    thought, answer = text_of(events, 1).split("</think>")
    assert thought.startswith("<think>")
    assert set(json.loads(answer)) == {"city", "big"}
    assert 2 <= end_of(events, 1).usage.reasoning_tokens <= 1 + 5 + 2


def test_text_of_a_grammar_that_spells_a_delimiter_is_text(demo: Engine) -> None:
    mark = demo.backend.info.special_tokens["<think>"]
    spelled, marked = (Grammar(f'start: "I " {how} "!"') for how in ('"<think>"', f"<[{mark}]>"))

    ends = []
    for number, grammar in enumerate((spelled, marked)):
        events = run(demo, Generate(number, GenerationRequest(prompt("Hi"), Sampling(0), 30, grammar, THINKING)))
        assert text_of(events, number) == "I <think>!"
        ends.append(end_of(events, number))

    assert ends[0].usage.completion_tokens > ends[1].usage.completion_tokens
    assert [end.usage.reasoning_tokens for end in ends] == [0, 2]


def test_pieces_have_their_kind(demo: Engine) -> None:
    marks = demo.backend.info.special_tokens
    begin, end, call, called = (marks[mark] for mark in ("<think>", "</think>", "<tool_call>", "</tool_call>"))
    grammar = Grammar(f'start: <[{begin}]> "a" <[{end}]> "b</think>" <[{call}]> "{{</tool_call>}}" <[{called}]>')
    command = Generate(
        1,
        GenerationRequest(
            prompt("Hi"), Sampling(0), 60, grammar, THINKING, calls=ToolCalls("<tool_call>", "</tool_call>")
        ),
    )

    pieces = [event for event in run(demo, command) if isinstance(event, Piece)]

    groups = groupby(pieces, lambda piece: (piece.kind, piece.edge))
    assert [(*told, "".join(piece.text for piece in group)) for told, group in groups] == [
        ("reasoning", "begin", "<think>"),
        ("reasoning", None, "a"),
        ("reasoning", "end", "</think>"),
        ("text", None, "b</think>"),
        ("tool_call", "begin", "<tool_call>"),
        ("tool_call", None, "{</tool_call>}"),
        ("tool_call", "end", "</tool_call>"),
    ]


def test_stop_strings_are_found_behind_a_delimiter_that_is_spelled(demo: Engine) -> None:
    grammar = Grammar('start: "a <think> is a tag"')

    events = run(demo, Generate(1, GenerationRequest(prompt("Hi"), Sampling(0, stop=("is",)), 30, grammar, THINKING)))

    assert (text_of(events, 1), end_of(events, 1).reason) == ("a <think> ", "stop")


def test_a_prompt_that_is_refused_is_refused_with_a_grammar_too() -> None:
    engine = echo()

    assert isinstance(engine.submit(Generate(1, GenerationRequest(prompt("x" * 500), grammar=OBJECT))), Finished)
    assert isinstance(engine.submit(Generate(2, GenerationRequest(prompt("x"), grammar=OBJECT))), Accepted)
    assert engine.cancel(2) == [Finished(2, "cancelled", TokenUsage(len("user\nx\nassistant\n") + 3, 0))]
