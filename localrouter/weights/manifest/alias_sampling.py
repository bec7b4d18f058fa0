"""Sampling parameters of an alias in the manifest: defaults for requests that leave them out."""

from typing import Annotated

from pydantic import Field

from localrouter.weights.manifest.toml_file import StrictTable

Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]


class AliasSampling(StrictTable):
    """Sampling parameters by the names and within the limits of the request fields; None: not set."""

    enabled: bool = True
    """Whether requests get these values. False: they are a recommendation that the operator can switch on."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=2)] | None = None

    @property
    def values(self) -> dict[str, float]:
        """Parameters that are set, by name."""
        return self.model_dump(exclude={"enabled"}, exclude_none=True)

    def over(self, base: "AliasSampling | None") -> "AliasSampling":
        """Return these parameters with those of `base` that are not set here; `enabled` is that of this table."""
        return self if base is None else base.model_copy(update={**self.values, "enabled": self.enabled})
