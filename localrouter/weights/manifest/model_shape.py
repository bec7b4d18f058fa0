"""Shape of a model in the manifest, for a memory plan without the file and without the hub."""

from typing import Annotated

from pydantic import Field

from localrouter.config import Context
from localrouter.memory.shape import Layer, Shape, Widths
from localrouter.weights.manifest.toml_file import StrictTable

Count = Annotated[int, Field(ge=0, le=65_536)]

TYPICAL_STATE = 2_200_000
"""Default bytes of state per sequence and recurrent layer: that of the larger Qwen hybrids."""
TYPICAL_VOCABULARY = 262_144
TYPICAL_WIDTH = 4_096
"""Assumed embedding width in elements: its compute buffers are small compared with weights and cache."""


class ManifestShape(StrictTable):
    """Numbers of layers by kind; `head_len` is in elements, for keys and values alike."""

    full_attention_layers: Count = 0
    kv_heads: Count = 0
    head_len: Count = 0
    sliding_layers: Count = 0
    sliding_kv_heads: Count = 0
    sliding_head_len: Count = 0
    window: Count = 0
    recurrent_layers: Count = 0
    recurrent_state: Annotated[int, Field(ge=0, le=2**40)] = TYPICAL_STATE
    """Bytes per sequence in one recurrent layer."""
    vocabulary: Annotated[int, Field(ge=0, le=2**24)] = TYPICAL_VOCABULARY
    shared_layers: Count = 0
    """Layers that share the KV cache of an earlier one."""
    context: Context | None = None
    """Tokens of context that the model was trained for."""

    def of_size(self, size: int) -> Shape:
        """Return the shape of a file of `size` bytes, assuming that all layers have the same size."""
        full, sliding = self.kv_heads * self.head_len, self.sliding_kv_heads * self.sliding_head_len
        count = self.full_attention_layers + self.sliding_layers + self.recurrent_layers + self.shared_layers
        each = size // (count + 1)
        layers = (
            *[Layer(each, full, full)] * self.full_attention_layers,
            *[Layer(each, sliding, sliding, sliding=True)] * self.sliding_layers,
            *[Layer(each, state=self.recurrent_state)] * self.recurrent_layers,
            *[Layer(each)] * self.shared_layers,
        )
        return Shape(
            source="manifest",
            layers=layers,
            embedding=0,
            output=size - each * count,
            vocabulary=self.vocabulary,
            window=self.window,
            trained=self.context,
            widths=Widths(width=TYPICAL_WIDTH, feed_forward=4 * TYPICAL_WIDTH),
            complete=bool(layers),
        )
