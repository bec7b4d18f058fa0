import pytest
from click.testing import CliRunner

from localrouter.cli.serve import serve
from localrouter.errors import ConfigError


@pytest.mark.parametrize("name", ["nix", "openai/nix", "demo:8b", " demo"])
def test_an_unknown_default_model_stops_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^--default-model: The model .* does not exist") as caught:
        CliRunner().invoke(serve, ["--port", "0", "--default-model", name], catch_exceptions=False)
    assert "LOCALROUTER_DEFAULT_MODEL" in str(caught.value.hint)


def test_the_variable_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="--default-model"):
        CliRunner().invoke(serve, ["--port", "0"], env={"LOCALROUTER_DEFAULT_MODEL": ""}, catch_exceptions=False)
