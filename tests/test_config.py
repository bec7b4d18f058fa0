"""Settings of models are the load options: the same names, types and defaults."""

from typing import get_type_hints

import pytest
from msgspec.structs import asdict
from pydantic import ValidationError

from localrouter.config import EngineSettings
from localrouter.load_options import LoadOptions
from localrouter.weights.manifest.manifest import Overrides


def test_every_load_option_is_a_setting_of_the_same_type() -> None:
    types = get_type_hints(LoadOptions)
    assert {name: get_type_hints(EngineSettings).get(name) for name in types} == types
    assert types.keys() == EngineSettings.model_fields.keys()


def test_settings_have_the_defaults_of_the_load_options() -> None:
    assert {name: field.default for name, field in EngineSettings.model_fields.items()} == asdict(LoadOptions())


def test_settings_become_load_options() -> None:
    settings = EngineSettings(context=4096, kv_type="q8_0", tensor_split=(3, 1))
    assert settings.load_options == LoadOptions(context=4096, kv_type="q8_0", tensor_split=(3, 1))


def test_an_alias_replaces_the_options_that_it_sets() -> None:
    options = Overrides(context=4096, require_gpu=False).replace_in(LoadOptions(require_gpu=True, swa_full="on"))
    assert options == LoadOptions(context=4096, require_gpu=False, swa_full="on")


@pytest.mark.parametrize("number", [15, 4_194_305])
def test_a_context_out_of_its_limits_is_rejected_in_settings_and_in_the_manifest(number: int) -> None:
    with pytest.raises(ValidationError):
        EngineSettings(context=number)
    with pytest.raises(ValidationError):
        Overrides(context=number)
