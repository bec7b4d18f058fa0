import pytest

from localrouter.errors import HubUnreachable
from localrouter.weights.hub.retry import LONGEST_PAUSE, Patience, Transient


class Person:
    """Notes what is said and how long is waited."""

    def __init__(self, tries: int) -> None:
        self.said: list[str] = []
        self.waited: list[float] = []
        self.patience = Patience("a.gguf", tries, self.waited.append, self.said.append)


def test_pauses_double_up_to_the_longest() -> None:
    person = Person(tries=20)
    for _ in range(10):
        person.patience.bear(Transient("cut"))
    assert person.waited[:4] == [0.5, 1, 2, 4]
    assert max(person.waited) == LONGEST_PAUSE


def test_waits_as_long_as_the_server_asks() -> None:
    person = Person(tries=5)
    person.patience.bear(Transient("busy", after=17))
    assert person.waited == [17]
    assert person.said == ["busy; trying again in 17 s"]


def test_the_last_failure_says_what_and_how_often() -> None:
    person = Person(tries=3)
    for _ in range(2):
        person.patience.bear(Transient("cut"))
    with pytest.raises(HubUnreachable, match=r"^a\.gguf: cut, 3 times in a row$"):
        person.patience.bear(Transient("cut"))
    assert len(person.waited) == 2


def test_progress_renews_it() -> None:
    person = Person(tries=2)
    for _ in range(10):
        person.patience.bear(Transient("cut"))
        person.patience.renew()
    assert person.waited == [0.5] * 10


def test_does_not_wait_for_an_hour() -> None:
    person = Person(tries=5)
    with pytest.raises(HubUnreachable, match="busy") as caught:
        person.patience.bear(Transient("busy", after=3600))
    assert person.waited == []
    assert "60 minutes" in str(caught.value.hint)


def test_asks_until_there_is_an_answer() -> None:
    failures = [Transient("cut"), Transient("cut")]

    def ask() -> str:
        if failures:
            raise failures.pop()
        return "here"

    assert Person(tries=3).patience.until_done(ask) == "here"
