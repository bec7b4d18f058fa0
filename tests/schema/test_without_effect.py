"""Fields that have no effect beside the other fields of a request."""

from collections.abc import Mapping

from localrouter.schema.field_kinds import Strict
from localrouter.schema.ignored_fields import IgnoredField, ignored_fields


class Part(Strict):
    wide: bool | None = None
    width: int | None = None

    def without_effect(self) -> Mapping[str, str]:
        return {} if self.wide else {"width": "only with `wide`"}


class Whole(Strict):
    part: Part
    parts: list[Part] | None = None


def test_a_field_without_effect_beside_the_others_is_listed_with_its_path() -> None:
    whole = Whole(part=Part(width=2), parts=[Part(wide=True, width=2), Part(width=3)])
    why = "only with `wide`"
    assert ignored_fields(whole) == [IgnoredField("part.width", why), IgnoredField("parts[].width", why)]


def test_a_field_that_is_null_is_not_listed() -> None:
    assert ignored_fields(Whole(part=Part())) == []
