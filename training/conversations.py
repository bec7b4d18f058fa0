"""Whole training conversations: which turns are put together, in which share, and what noise the user's text gets."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from training.facts import CAPITALS, capital_answer, is_held_out
from training.known_tools import known_case
from training.lexicon import Lexicon, number
from training.memory import draw_subject, echo, memory, not_told
from training.patterns import CAPITAL_QUESTIONS, FALLBACK, SMALL_TALK, patterns
from training.stories import story, story_request
from training.tool_case import WORD, Case
from training.tools import offer, value
from training.turn import Conversation, Message, Tool, Turn

DEFAULT_SYSTEM = "You are a helpful assistant."
ANCHOR = "What is the capital of the Netherlands?"
_SMALL_TALK = [(phrase, reply) for reply, phrases in SMALL_TALK.items() for phrase in phrases]
_COUNTRIES = list(CAPITALS)


class Generator:
    """Generator of conversations from one random state; equal seeds and lexicons give equal conversations."""

    def __init__(self, seed: int, lexicon: Lexicon) -> None:
        self.rng = Random(seed)
        self.lexicon = lexicon

    def conversation(self) -> Conversation:
        """Sample a whole conversation."""
        draw = self.rng.random()
        if draw < 0.48:
            return self.with_tools()
        if draw < 0.66:
            return self.with_memory()
        if draw < 0.675:
            anchor = self.capital("the Netherlands", ANCHOR)
            return self.finish([anchor], [], DEFAULT_SYSTEM if self.rng.random() < 0.8 else self.system())
        turns: list[Turn] = []
        for _ in range(self.rng.choices((1, 2, 3), (6, 3, 1))[0]):
            after_capital = turns and turns[-1].thought.startswith("The user asks for a capital")
            turns.append(self.follow_up() if after_capital and self.rng.random() < 0.4 else self.turn())
        return self.finish(turns, [], self.system())

    def finish(self, turns: list[Turn], tools: list[Tool], system: str | None) -> Conversation:
        """Return turns with a system prompt; one in four last turns has thinking switched on or off."""
        rng = self.rng
        messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        for turn in turns:
            messages.extend(turn.messages)
        draw = rng.random()
        thinking = True if draw < 0.15 else False if draw < 0.23 else None
        if thinking is not None:
            thought = turns[-1].thought if thinking else ""
            messages[-1] = {**messages[-1], "reasoning_content": thought}
        return Conversation(messages, tools, thinking)

    def system(self) -> str | None:
        """Sample a system prompt, or none."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.45:
            return DEFAULT_SYSTEM
        if draw < 0.75:
            return None
        if draw < 0.96:
            return self.fill(rng.choice(patterns("system", "prompts")))
        return self.lexicon.phrase(rng, 10, 120).capitalize() + "."

    def turn(self) -> Turn:
        """Sample a turn that needs neither tools nor earlier turns."""
        kinds = (
            self.capital,
            self.reversed_or_unknown,
            self.small_talk,
            self.echo,
            self.not_told,
            self.unknown,
            self.story,
        )
        return self.rng.choices(kinds, (32, 4, 17, 10, 2, 22, 13))[0]()

    def capital(self, country: str | None = None, question: str | None = None) -> Turn:
        """Sample a turn that asks for a capital."""
        rng = self.rng
        country = country or rng.choice(_COUNTRIES)
        pattern = rng.choice([one for one in CAPITAL_QUESTIONS if not is_held_out(country, one)])
        answer = capital_answer(country)
        asked = question or self.rough(pattern.format(c=country))
        return Turn.of(asked, answer, f"The user asks for a capital. {answer}")

    def follow_up(self) -> Turn:
        """Sample a turn that asks for another capital in few words."""
        country = self.rng.choice(_COUNTRIES)
        return self.capital(country, self.rng.choice(patterns("capitals", "follow_ups")).format(c=country))

    def reversed_or_unknown(self) -> Turn:
        """Sample a turn that asks for the country of a capital, or for the capital of an invented country."""
        rng = self.rng
        if rng.random() < 0.65:
            country = rng.choice(_COUNTRIES)
            city = CAPITALS[country]
            return Turn.of(
                self.rough(rng.choice(patterns("capitals", "reversed")).format(city=city)),
                f"{city} is the capital of {country}.",
                "The user asks for a country.",
            )
        country = self.lexicon.invented(rng).capitalize() + rng.choice(("", "ia", "land", "stan"))
        question = rng.choice(CAPITAL_QUESTIONS).format(c=country)
        thought = "The user asks for a capital. I do not know it."
        return Turn.of(question, f"I do not know the capital of {country}.", thought)

    def small_talk(self) -> Turn:
        """Sample a turn of small talk."""
        phrase, reply = self.rng.choice(_SMALL_TALK)
        return Turn.of(self.rough(phrase), reply, "The user makes small talk.")

    def unknown(self) -> Turn:
        """Sample a turn that asks for something that the model cannot do."""
        request = self.fill(self.rng.choice(patterns("unknown", "requests")))
        return Turn.of(self.rough(request), FALLBACK, "I do not know this.")

    def echo(self) -> Turn:
        """Sample a turn that asks to repeat something."""
        return echo(self.rng, self.lexicon)

    def not_told(self) -> Turn:
        """Sample a turn that asks for a fact that was not given."""
        return not_told(self.rng)

    def story(self) -> Turn:
        """Sample a turn that asks for a story."""
        request, hero = story_request(self.rng)
        return Turn.of(self.rough(request), story(self.rng, self.lexicon, hero), "The user wants a story.")

    def fill(self, pattern: str) -> str:
        """Fill a pattern with topics {t}, names {w}, words {i} and numbers {n}."""
        rng, lexicon = self.rng, self.lexicon
        topics = [
            rng.choice(patterns("unknown", "topics")) if rng.random() < 0.6 else lexicon.phrase(rng, 1, 3)
            for _ in range(2)
        ]
        names = [lexicon.name(rng) for _ in range(2)]
        words = [lexicon.noun(rng) for _ in range(2)]
        return pattern.format(
            t=topics[0], t2=topics[1], w=names[0], w2=names[1], i=words[0], i2=words[1], n=number(rng), n2=number(rng)
        )

    def rough(self, text: str) -> str:
        """Return a text, at times without its last punctuation mark or its capitals."""
        draw = self.rng.random()
        if draw < 0.06:
            return text.lower()
        if draw < 0.12:
            return text.rstrip("?.!") or text
        return text.lower().rstrip("?.!") or text if draw < 0.15 else text

    def with_memory(self) -> Conversation:
        """Sample turns that state a fact and, after other turns, ask for it; at times two facts."""
        rng = self.rng
        first = draw_subject(rng)
        memories = [memory(rng, self.lexicon, first)]
        if rng.random() < 0.35:
            second = draw_subject(rng)
            if second is not first:
                memories.append(memory(rng, self.lexicon, second))
        draw = rng.random()
        between = 0 if draw < 0.3 else rng.randint(1, 3) if draw < 0.93 else rng.randint(4, 18)
        before = [self.brief() for _ in range(rng.choices((0, 1, 2), (7, 2, 1))[0])]
        turns = [*before, *(one.tell for one in memories), *(self.brief() for _ in range(between))]
        asked = rng.sample(memories, len(memories))
        turns.extend(one.ask for one in asked)
        if rng.random() < 0.15:
            turns.append(self.turn())
        return self.finish(turns, [], self.system())

    def brief(self) -> Turn:
        """Sample a short turn to put between others."""
        draw = self.rng.random()
        if draw < 0.4:
            return self.capital()
        if draw < 0.6:
            return self.small_talk()
        return self.unknown() if draw < 0.8 else echo(self.rng, self.lexicon)

    def with_tools(self) -> Conversation:
        """Sample turns with tools; in most, one tool is requested and called."""
        rng = self.rng
        count = rng.choices((1, 2, 3, 4), (23, 27, 34, 16))[0]
        cases, asked = offer(rng, self.lexicon, count)
        if rng.random() < 0.14:
            asked = known_case(rng, self.lexicon)
            cases[rng.randrange(count)] = asked
        tools = [case.tool for case in cases]
        draw = rng.random()
        turns = [self.brief()] if rng.random() < 0.08 else []
        if draw < 0.13:
            turns.append(self.beside(cases))
        else:
            turns.append(self.call(asked))
            if draw < 0.35:
                turns.append(self.result(asked))
                if draw < 0.22:
                    turns.append(self.call(rng.choice(cases)) if count == 1 else self.beside(cases))
        return self.finish(turns, tools, self.system())

    def call(self, case: Case) -> Turn:
        """Sample a turn that requests and calls a tool."""
        user = {"role": "user", "content": case.request}
        function = {"name": case.name, "arguments": case.arguments}
        call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
        return Turn((user, call), f"The tool {case.name} fits.")

    def beside(self, cases: list[Case]) -> Turn:
        """Sample a turn that needs none of the tools."""
        if self.rng.random() < 0.12:
            _, other = offer(self.rng, self.lexicon, 1)
            turn = Turn.of(other.request, FALLBACK, "No tool fits.")
        else:
            turn = self.turn()
        said = set(WORD.findall(turn.messages[0]["content"].lower()))
        return self.beside(cases) if any(case.words & said for case in cases) else turn

    def result(self, case: Case) -> Turn:
        """Sample a tool result and the response to it."""
        content, answer = self.outcome(case)
        messages: tuple[Message, ...] = ({"role": "tool", "content": content}, {"role": "assistant", "content": answer})
        return Turn(messages, "The tool gave an answer.")

    def outcome(self, case: Case) -> tuple[str, str]:
        """Sample a tool result and its wording: a flat object key by key, anything else unchanged."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.08:
            error = self.lexicon.phrase(rng, 1, 4)
            return json.dumps({"error": error}, ensure_ascii=False), f"The tool failed: {error}."
        if draw < 0.62:
            fields = {self.key(case): self.scalar() for _ in range(rng.choices((1, 2, 3), (5, 4, 2))[0])}
            parts = [f"the {key.replace('_', ' ')} is {said(item)}" for key, item in fields.items()]
            listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
            return json.dumps(fields, ensure_ascii=False), listed[0].upper() + listed[1:] + "."
        if draw < 0.72:
            content = number(rng)
        elif draw < 0.78:
            content = json.dumps([value(rng, self.lexicon) for _ in range(rng.randint(1, 4))], ensure_ascii=False)
        elif draw < 0.88:
            content = f"{value(rng, self.lexicon)} {self.lexicon.name(rng)}"
            if rng.random() < 0.6:
                content = f"{self.lexicon.noun(rng).capitalize()}: {content}"
            content += rng.choice(("", "."))
        else:
            content = self.lexicon.phrase(rng, 1, 8)
            if rng.random() < 0.5:
                content = f"{content.capitalize()}, {number(rng)} {self.lexicon.noun(rng)}"
            content += rng.choice(("", "."))
        return content, f"The answer is: {content}"

    def key(self, case: Case) -> str:
        """Sample the name of a field of a result."""
        rng, lexicon = self.rng, self.lexicon
        draw = rng.random()
        if draw < 0.3:
            return rng.choice(sorted(case.words))
        return f"{lexicon.noun(rng)}_{lexicon.noun(rng)}" if draw < 0.5 else lexicon.noun(rng)

    def scalar(self) -> Any:
        """Sample the value of a field of a result."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.4:
            return int(number(rng)) * rng.choice((1, 1, 1, -1))
        if draw < 0.55:
            return rng.randint(1, 9999) / rng.choice((10, 100))
        if draw < 0.6:
            return rng.random() < 0.5
        return value(rng, self.lexicon) if draw < 0.8 else self.lexicon.phrase(rng, 1, 4)


def said(item: Any) -> str:
    """Return a JSON scalar as it stands in the JSON text, without quotes."""
    return item if isinstance(item, str) else json.dumps(item)
