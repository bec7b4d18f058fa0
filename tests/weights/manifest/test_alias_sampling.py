"""Defaults of an alias for requests: `system`, and the table `sampling`."""

from pathlib import Path

import pytest

from localrouter.errors import ManifestError
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_request import ChatRequest
from localrouter.weights.manifest.alias_sampling import AliasSampling
from localrouter.weights.manifest.manifest import Model, default_manifest_path, load_manifest

LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 2**31 - 1),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repeat_penalty": (0.01, 2),
}
BUILD = '\n[[models.a.builds]]\nname = "A"\npath = "a.gguf"\n'


def model(folder: Path, text: str) -> Model:
    (folder / "m.toml").write_text("version = 1\n" + text + BUILD)
    return load_manifest(folder / "m.toml").models["a"]


def test_an_alias_without_these_keys_has_no_defaults(tmp_path: Path) -> None:
    assert model(tmp_path, "[models.a]").defaults() == NO_DEFAULTS


def test_the_table_of_an_alias_is_its_defaults(tmp_path: Path) -> None:
    text = '[models.a]\nsystem = "Be brief."\n[models.a.sampling]\ntemperature = 1\ntop_k = 64\nmin_p = 0.0'
    sampling = (("temperature", 1), ("top_k", 64), ("min_p", 0.0))
    assert model(tmp_path, text).defaults() == AliasDefaults(sampling, "Be brief.")


def test_a_table_that_is_switched_off_is_a_recommendation(tmp_path: Path) -> None:
    read = model(tmp_path, '[models.a]\nsystem = "s"\nsampling = { enabled = false, top_p = 0.9 }')
    assert read.defaults() == AliasDefaults((), "s")
    assert read.defaults(recommended=True) == AliasDefaults((("top_p", 0.9),), "s")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("temprature = 1", ":4: models.a.sampling.temprature: unknown key"),
        ("temperature = 2.1", ":4: models.a.sampling.temperature: input should be less than or equal to 2"),
        ("temperature = nan", ":4: models.a.sampling.temperature: input should be less than or equal to 2"),
        ("top_p = -0.1", ":4: models.a.sampling.top_p: input should be greater than or equal to 0"),
        ("\ntop_k = 1.5", ":5: models.a.sampling.top_k: input should be a valid integer"),
        ("top_k = -1", ":4: models.a.sampling.top_k: input should be greater than or equal to 0"),
        ("top_k = true", ":4: models.a.sampling.top_k: input should be a valid integer"),
        ("min_p = true", ":4: models.a.sampling.min_p: input should be a valid number"),
        ('presence_penalty = "1.5"', ":4: models.a.sampling.presence_penalty: input should be a valid number"),
        ("frequency_penalty = 3", ":4: models.a.sampling.frequency_penalty: input should be less than or equal to 2"),
        ("repeat_penalty = 0", ":4: models.a.sampling.repeat_penalty: input should be greater than or equal to 0.01"),
        ("enabled = 1", ":4: models.a.sampling.enabled: input should be a valid boolean"),
    ],
)
def test_a_mistake_names_line_and_key(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        model(tmp_path, f"[models.a]\n[models.a.sampling]\n{lines}")
    assert message in caught.value.message


@pytest.mark.parametrize("value", ['""', "3", '["s"]'])
def test_a_system_message_is_a_text(tmp_path: Path, value: str) -> None:
    with pytest.raises(ManifestError, match=r":3: models\.a\.system: "):
        model(tmp_path, f"[models.a]\nsystem = {value}")


@pytest.mark.parametrize(("name", "values"), LIMITS.items())
def test_a_default_is_a_value_that_a_request_may_have(name: str, values: tuple[float, float]) -> None:
    for value in values:
        assert AliasSampling.model_validate({name: value}).values == {name: value}
        body = {"messages": [{"role": "user", "content": ""}], name: value}
        assert getattr(ChatRequest.model_validate(body), name) == value


def test_every_default_has_limits() -> None:
    assert set(LIMITS) == set(AliasSampling.model_fields) - {"enabled"}


def test_the_shipped_recommendations_are_switched_off() -> None:
    models = load_manifest(default_manifest_path()).models
    assert [models[name].defaults() for name in models] == [NO_DEFAULTS] * len(models)
    assert dict(models["qwen"].defaults(recommended=True).sampling)["top_k"] == 20
    assert dict(models["gemma"].defaults(recommended=True).sampling)["top_k"] == 64
