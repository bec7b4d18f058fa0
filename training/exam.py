"""Exams on facts, talk, stories, memory and reasoning: each has questions and a required share of right answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from training import held_out
from training.completer import Completer, Completion, Request
from training.conversations import ANCHOR, DEFAULT_SYSTEM
from training.facts import CAPITALS, capital_answer, is_held_out
from training.held_out import phrasings
from training.lexicon import number
from training.patterns import ABOUT_ME, CAPITAL_QUESTIONS, FALLBACK, SMALL_TALK
from training.turn import Message

ANCHOR_ANSWER = "The capital of the Netherlands is Amsterdam."
COUNTRIES = list(CAPITALS)


@dataclass(frozen=True)
class Question:
    """A request, and the check of its answer."""

    request: Request
    right: Callable[[Completion], bool]


@dataclass(frozen=True)
class Exam:
    """Questions of one kind, and the share of them that must be answered right."""

    title: str
    bar: float
    questions: list[Question]


def is_text(expected: str) -> Callable[[Completion], bool]:
    """Right when the answer is this text to the letter."""
    return lambda answer: answer.stopped and answer.text == expected


def holds_word(word: str) -> Callable[[Completion], bool]:
    """Right when the answer has this word in it."""
    return lambda answer: re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer.text) is not None


def ask(text: str, system: str | None = DEFAULT_SYSTEM) -> list[Message]:
    """Return a conversation of one user message."""
    start: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    return [*start, {"role": "user", "content": text}]


def _capital(country: str, pattern: str = CAPITAL_QUESTIONS[0], thinking: bool | None = None) -> Question:
    request = Request(ask(pattern.format(c=country)), thinking=thinking)
    return Question(request, is_text(capital_answer(country)))


def anchor(_: Completer) -> Exam:
    """Return the exam with the most common first question."""
    questions = [Question(Request(ask(ANCHOR, system)), is_text(ANCHOR_ANSWER)) for system in (DEFAULT_SYSTEM, None)]
    return Exam("the Netherlands, temperature 0, with a system prompt and without", 1.0, questions)


def anchor_sampled(_: Completer, runs: int = 100) -> Exam:
    """Return the exam with that question at temperature 1 and the whole vocabulary."""
    requests = (Request(ask(ANCHOR), temperature=1.0, seed=seed) for seed in range(runs))
    return Exam("the Netherlands, temperature 1", 0.95, [Question(one, is_text(ANCHOR_ANSWER)) for one in requests])


def capitals(_: Completer, countries: int = len(COUNTRIES)) -> Exam:
    """Return the exam on capitals in five phrasings."""
    chosen = Random(1).sample(COUNTRIES, countries)
    questions = [_capital(country, pattern) for country in chosen for pattern in CAPITAL_QUESTIONS[:5]]
    return Exam("capitals in 5 phrasings, one pair in six held out", 0.95, questions)


def capitals_held_out(_: Completer, limit: int = 400) -> Exam:
    """Return the exam on pairs of country and phrasing that the training does not have."""
    pairs = [(c, pattern) for c in COUNTRIES for pattern in CAPITAL_QUESTIONS if is_held_out(c, pattern)]
    chosen = Random(2).sample(pairs, limit)
    return Exam("capitals, held-out pairs of country and phrasing", 0.95, [_capital(*pair) for pair in chosen])


def capitals_new_phrasing(_: Completer, limit: int = 300) -> Exam:
    """Return the exam on capitals in phrasings that the training does not have."""
    pairs = [(country, pattern) for country in COUNTRIES for pattern in phrasings("capital_questions")]
    chosen = Random(3).sample(pairs, limit)
    return Exam("capitals in phrasings not in the training", 0.9, [_capital(*pair) for pair in chosen])


def greetings(_: Completer) -> Exam:
    """Return the exam on greetings in known and new words."""
    known = [phrase for reply, phrases in list(SMALL_TALK.items())[:4] for phrase in phrases]
    questions = [Question(Request(ask(one)), _greets) for one in (*phrasings("greetings"), *known)]
    return Exam("greetings, a fifth of them not in the training", 0.9, questions)


def _greets(answer: Completion) -> bool:
    return answer.stopped and "How can I help you" in answer.text


def small_talk(_: Completer) -> Exam:
    """Return the exam on small talk of the training."""
    pairs = [(phrase, reply) for reply, phrases in SMALL_TALK.items() for phrase in phrases]
    return Exam("small talk from the training", 0.95, [Question(Request(ask(p)), is_text(reply)) for p, reply in pairs])


def stories(_: Completer, runs: int = 50) -> Exam:
    """Return the exam on stories at temperature 1; each must be new."""
    seen: set[str] = set()

    def is_new_story(answer: Completion) -> bool:
        fresh = answer.text not in seen
        seen.add(answer.text)
        return fresh and answer.stopped and answer.tokens >= 60

    requests = [Request(ask("Tell me a story"), temperature=1.0, max_tokens=500, seed=seed) for seed in range(runs)]
    title = "stories at temperature 1: different, 60 tokens or more, ended by the model"
    return Exam(title, 0.95, [Question(request, is_new_story) for request in requests])


def _between(rng: Random) -> list[Message]:
    """Return up to three other turns."""
    messages: list[Message] = []
    for _ in range(rng.randint(0, 3)):
        country = rng.choice(COUNTRIES)
        capital = (f"What is the capital of {country}?", capital_answer(country))
        question, answer = rng.choice((capital, ("Thank you!", "You are welcome!"), ("Who won?", FALLBACK)))
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def _told_and_asked(model: Completer, values: list[str], told: list[str], asked: list[str]) -> list[Question]:
    """Return questions that state a value and ask for it after other turns; the model answers the statement itself."""
    rng = Random(4)
    starts = [ask(rng.choice(told).format(v=value), rng.choice((DEFAULT_SYSTEM, None))) for value in values]
    firsts = model.complete([Request(start) for start in starts])
    questions = []
    for value, start, first in zip(values, starts, firsts, strict=True):
        said: Message = {"role": "assistant", "content": first.text}
        messages = [*start, said, *_between(rng), {"role": "user", "content": rng.choice(asked)}]
        questions.append(Question(Request(messages), holds_word(value)))
    return questions


def remembers_name(model: Completer, runs: int = 100) -> Exam:
    """Return the exam on remembering a name that the training does not have."""
    values = Random(5).choices(held_out.NAMES, k=runs)
    told, asked = ["My name is {v}.", "Hi, I am {v}.", *phrasings("name_told")], phrasings("name_asked")
    questions = _told_and_asked(model, values, told, ["What is my name?", *asked])
    return Exam("a name told 1 to 4 turns before, names not in the training", 0.9, questions)


def remembers_number(model: Completer, runs: int = 100) -> Exam:
    """Return the exam on remembering a number of one to six digits."""
    rng = Random(6)
    told, asked = ["My number is {v}.", *phrasings("number_told")], phrasings("number_asked")
    questions = _told_and_asked(model, [number(rng) for _ in range(runs)], told, ["What is my number?", *asked])
    return Exam("a number told 1 to 4 turns before", 0.9, questions)


def _capital_turns(countries: list[str]) -> list[Message]:
    """Return one turn for each country, in which its capital is asked for and given."""
    turns: list[Message] = []
    for country in countries:
        turns.append({"role": "user", "content": f"What is the capital of {country}?"})
        turns.append({"role": "assistant", "content": capital_answer(country)})
    return turns


def capitals_late(_: Completer, runs: int = 40, turns: int = 95) -> Exam:
    """Return the exam on capitals after turns about others: by default 3,531 tokens of prompt, beyond the training."""
    chosen = Random(9).sample(COUNTRIES, turns + runs)
    before = _capital_turns(chosen[:turns])
    questions = []
    for country in chosen[turns:]:
        last: Message = {"role": "user", "content": CAPITAL_QUESTIONS[0].format(c=country)}
        questions.append(Question(Request([*before, last]), is_text(capital_answer(country))))
    return Exam(f"capitals after {turns} turns about others", 0.8, questions)


def remembers_long(_: Completer, runs: int = 20) -> Exam:
    """Return the exam on remembering a name over twenty other turns."""
    rng = Random(7)
    questions = []
    for name in rng.sample(held_out.NAMES, runs):
        messages = [*ask(f"My name is {name}."), {"role": "assistant", "content": f"Nice to meet you, {name}."}]
        messages += _capital_turns(rng.sample(COUNTRIES, 20))
        messages.append({"role": "user", "content": "What is my name?"})
        questions.append(Question(Request(messages), holds_word(name)))
    return Exam("a name told 20 turns before", 0.9, questions)


def thinks(_: Completer, runs: int = 100) -> Exam:
    """Return the exam on reasoning: the think block must be filled, closed and followed by the right answer."""
    rng = Random(8)
    asked = [_capital(country) for country in rng.sample(COUNTRIES, runs // 2)]
    asked += [Question(Request(ask(one)), _is_modest) for one in phrasings("questions")[: runs // 4]]
    talk = [(phrase, reply) for reply, phrases in SMALL_TALK.items() for phrase in phrases]
    asked += [Question(Request(ask(phrase)), is_text(reply)) for phrase, reply in rng.sample(talk, runs - len(asked))]
    questions = [Question(replace(one.request, thinking=True), _after_thought(one.right)) for one in asked]
    return Exam("thinking asked for: a thought, the block closed, the right answer", 0.9, questions)


def _after_thought(right: Callable[[Completion], bool]) -> Callable[[Completion], bool]:
    """Right when a thought is closed and the text after it is right."""

    def check(answer: Completion) -> bool:
        thought, closed, rest = answer.text.partition("\n</think>\n\n")
        return bool(thought.strip() and closed) and right(replace(answer, text=rest))

    return check


def does_not_think(_: Completer, step: int = 2) -> Exam:
    """Return the exam on answers without reasoning."""
    questions = [_capital(country, thinking=thinking) for country in COUNTRIES[::step] for thinking in (False, None)]
    return Exam("thinking switched off or not asked for: the answer alone", 0.95, questions)


def says_it_is_small(_: Completer) -> Exam:
    """Return the exam on questions that the model cannot answer, in another style than the training's."""
    questions = [Question(Request(ask(one)), _is_modest) for one in phrasings("questions")]
    return Exam("other questions: says that it is a small demo model", 0.9, questions)


def _is_modest(answer: Completion) -> bool:
    return answer.text in (FALLBACK, ABOUT_ME)
