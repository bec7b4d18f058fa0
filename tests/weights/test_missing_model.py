"""What a client reads of a build that is not whole."""

import pytest

from localrouter.weights.build_location import Damaged, Missing
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.missing_model import not_downloaded

OWN = Build(name="Own", path="/secret/S-00001-of-00003.gguf", size=5)
HUB = Build(name="Far", repo="o/n", file="S-00001-of-00003.gguf")


@pytest.mark.parametrize(
    ("build", "remedy"), [(OWN, "not at the path in the operator's settings"), (HUB, "localrouter pull Far")]
)
def test_parts_that_are_missing_are_named(build: Build, remedy: str) -> None:
    location = Missing("/secret/S-00001-of-00003.gguf", ("S-00002-of-00003.gguf", "S-00003-of-00003.gguf"))
    message = not_downloaded("x", [(build, location)]).message
    assert f"{build.name} cannot be used without S-00002-of-00003.gguf, S-00003-of-00003.gguf." in message
    assert remedy in message
    assert "/secret" not in message


def test_who_changed_a_file_on_purpose_reads_how_to_accept_it() -> None:
    message = not_downloaded("x", [(OWN, Damaged("/secret/S.gguf", 6, 5))]).message
    assert "its file has 6 bytes instead of 5" in message
    assert "`localrouter verify Own` shows how to accept it" in message
    assert "/secret" not in message
