"""Facts about a loaded model, as its worker reports them."""

from typing import Literal, TypeAlias

import msgspec

from localrouter.engine.fallbacks import Fallback
from localrouter.load_options import LoadOptions

TemplateSource: TypeAlias = Literal[
    "model", "manifest", "fallback chatml", "fallback gemma4", "fallback gemma", "fallback plain"
]
"""Source of a chat template: the GGUF file, the manifest, or a fallback in one of the turn formats."""


class ComputeDevice(msgspec.Struct, frozen=True):
    """Device that a model runs on. `layers` includes the output layer, as llama.cpp counts it."""

    name: str
    offloaded_layers: int
    layers: int
    ids: str = ""
    """ggml's names of the GPUs that hold layers, separated by commas; empty on the CPU."""


class FimTokens(msgspec.Struct, frozen=True):
    """Ids of the special tokens with which a model fills in the text between a prefix and a suffix."""

    prefix: int
    suffix: int
    middle: int
    repository: int | None = None
    """Token before the name of a repository, if the vocabulary has one."""
    separator: int | None = None
    """Token before the name of each file, if the vocabulary has one."""


class ModelInfo(msgspec.Struct, frozen=True):
    """Facts about a loaded model."""

    architecture: str
    context: int
    """Longest prompt plus output of one request, in tokens."""
    cells: int
    """KV cells, shared by all sequences."""
    max_sequences: int
    parameters: int
    size: int
    """Bytes of weights."""
    vocabulary: int
    device: ComputeDevice
    threads: int
    chat_template: str | None
    """Chat template in use; None: the model has none, and the manifest names none."""
    bos_token: str
    eos_token: str
    control_tokens: list[str]
    """Texts of the control tokens."""
    template_source: TemplateSource = "fallback chatml"
    """Source of the chat template; a model without one has a fallback in the turn format of its vocabulary."""
    special_tokens: dict[str, int] = {}
    """Token ids of the special tokens by text: control tokens, and delimiters the vocabulary defines (`<think>`)."""
    fim: FimTokens | None = None
    """Fill-in-the-middle tokens; None where the vocabulary lacks one of the first three."""
    pad_token: str = ""
    """Text of the padding token; empty without one."""
    options: LoadOptions = LoadOptions()
    """Options that the model was loaded with."""
    fallbacks: tuple[Fallback, ...] = ()
    """Fallbacks in use, because the model failed with other options."""
