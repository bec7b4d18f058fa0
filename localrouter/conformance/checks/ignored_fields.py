"""Checks of fields without effect on a local server: they must be accepted and ignored, or rejected by name."""

from typing import Any

from localrouter.conformance.check import CheckGroup, accepted, expect, rejects
from localrouter.conformance.server_under_test import ServerUnderTest

FIELDS = CheckGroup("fields")


@FIELDS.check("user")
def a_user_is_accepted(server: ServerUnderTest) -> None:
    """`user` is a stable identifier for your end-users."""
    accepted(server, user="somebody")


@FIELDS.check("safety_identifier", "prompt_cache_key")
def identifiers_are_accepted(server: ServerUnderTest) -> None:
    """`safety_identifier` and `prompt_cache_key` replace `user`."""
    accepted(server, safety_identifier="somebody", prompt_cache_key="some-key")


@FIELDS.check("metadata", "store")
def metadata_is_accepted(server: ServerUnderTest) -> None:
    """`metadata` are up to 16 pairs of strings that can be attached to an object."""
    accepted(server, metadata={"subject": "ships"}, store=False)


@FIELDS.check("service_tier")
def the_default_service_tier_is_accepted(server: ServerUnderTest) -> None:
    """`service_tier` is `auto` when it is not set."""
    accepted(server, service_tier="auto")


@FIELDS.check("modalities")
def text_is_a_modality(server: ServerUnderTest) -> None:
    """Most models are capable of generating text, which is the default of `modalities`."""
    accepted(server, modalities=["text"])


@FIELDS.check("verbosity")
def verbosity_is_accepted(server: ServerUnderTest) -> None:
    """`verbosity` is `low`, `medium` or `high`; the default is `medium`."""
    accepted(server, verbosity="medium")


@FIELDS.check("prediction")
def a_prediction_is_accepted(server: ServerUnderTest) -> None:
    """`prediction` can make an answer faster, and does not change what it is."""
    accepted(server, prediction={"type": "content", "content": "The ships carry salt."})


@FIELDS.check("modalities", "audio")
def audio_is_rejected_or_comes(server: ServerUnderTest) -> None:
    """With the modality `audio` the model generates text and audio; a model that cannot must not pretend to."""
    asked: dict[str, Any] = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    error = server.rejection(**asked)
    if error is None:
        expect(server.ask(**asked)["choices"][0]["message"].get("audio"), "audio was dropped in silence")
        return
    expect(400 <= error.status_code < 500 or error.status_code == 501, f"the status is {error.status_code}")


@FIELDS.check("stream_options")
def stream_options_without_a_stream_are_rejected(server: ServerUnderTest) -> None:
    """`stream_options` is only to be set together with `stream: true`."""
    server.stream(stream_options={"include_usage": True})
    rejects(server, {}, {"stream_options": {"include_usage": True}})


@FIELDS.check()
def null_is_a_default(server: ServerUnderTest) -> None:
    """Fields that the reference calls nullable may be null, as if they were left out."""
    names = ("temperature", "top_p", "n", "stop", "seed", "logprobs", "logit_bias", "presence_penalty", "stream")
    accepted(server, **dict.fromkeys(names))
