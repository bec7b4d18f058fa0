"""The trained network as a GGUF file that llama.cpp loads: tokenizer, template and weights in Q8_0.

The file's context is longer than that of the training: llama.cpp stretches the rotary positions with YaRN.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from training import template
from training.network import Network
from training.tokenizer import CONTROL, MARKS, Vocabulary

YARN_FACTOR = 2.0  # context of the file / context of the training
DESCRIPTION = (
    "A tiny demo model made for tests and first steps, trained from scratch on generated sentences. It knows only "
    "capitals of countries, greetings, small stories, repeating a name or a number it was told, and simple tool calls. "
    "It is wrong about nearly everything else and is not meant for real use."
)


def export(network: Network, vocabulary: Vocabulary, path: Path, quantized: bool = True) -> None:
    """Write the file; `quantized` keeps the matrices in Q8_0 instead of F32."""
    writer = gguf.GGUFWriter(path, "qwen3")
    _metadata(writer, network, quantized)
    _tokenizer(writer, vocabulary)
    for name, parameter in network.named_parameters():
        array = parameter.detach().float().numpy()
        if array.ndim == 2 and quantized:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array, dtype=np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _metadata(writer: gguf.GGUFWriter, network: Network, quantized: bool) -> None:
    shape = network.shape
    writer.add_name("localrouter-demo")
    writer.add_description(DESCRIPTION)
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantized else gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(round(shape.context * YARN_FACTOR))
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(YARN_FACTOR)
    writer.add_rope_scaling_orig_ctx_len(shape.context)


def _tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    kinds = dict.fromkeys(CONTROL, gguf.TokenType.CONTROL) | dict.fromkeys(MARKS, gguf.TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in vocabulary.tokens])
    writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    end = vocabulary.index("<|im_end|>")
    writer.add_bos_token_id(vocabulary.index("<|endoftext|>"))
    writer.add_pad_token_id(vocabulary.index("<|endoftext|>"))
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template.PATH.read_text())
