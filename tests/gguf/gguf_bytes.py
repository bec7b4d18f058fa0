"""GGUF headers built byte by byte, right and wrong ones."""

import struct


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def text_pair(key: str, value: str | bytes) -> bytes:
    return pair(key, 8, text(value))


def number_pair(key: str, value: int) -> bytes:
    return pair(key, 4, struct.pack("<I", value))


def array_pair(key: str, kind: int, count: int, elements: bytes) -> bytes:
    return pair(key, 9, struct.pack("<IQ", kind, count) + elements)


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def header(*pairs: bytes, version: int = 3, tensors: int = 0, count: int | None = None) -> bytes:
    counts = struct.pack("<QQ", tensors, len(pairs) if count is None else count)
    return b"GGUF" + struct.pack("<I", version) + counts + b"".join(pairs)


SAMPLE = header(
    text_pair("general.architecture", "qwen3"),
    text_pair("general.name", "A sample"),
    text_pair("general.license", "apache-2.0"),
    number_pair("general.file_type", 15),
    number_pair("qwen3.context_length", 2048),
    array_pair("tokenizer.ggml.tokens", 8, 3, text("a") + text("bc") + text("")),
    array_pair("tokenizer.ggml.scores", 6, 3, bytes(12)),
    pair("tokenizer.ggml.add_bos_token", 7, b"\x01"),
)

TENSORS = header(
    text_pair("general.architecture", "qwen3"),
    number_pair("qwen3.block_count", 2),
    number_pair("qwen3.embedding_length", 64),
    array_pair("qwen3.attention.head_count_kv", 5, 2, struct.pack("<2i", 1, 2)),
    array_pair("qwen3.attention.sliding_window_pattern", 7, 2, b"\x01\x00"),
    array_pair("tokenizer.ggml.tokens", 8, 3, text("a") + text("bc") + text("")),
    tensors=4,
) + b"".join(
    (
        tensor("token_embd.weight", (64, 3), 8, 0),
        tensor("blk.0.attn_norm.weight", (64,), 0, 224),
        tensor("blk.1.ffn_up.weight", (256, 2), 12, 480),
        tensor("output_norm.weight", (63,), 0, 768),
    )
)
"""A header with four tensors, padded to 32 bytes each: 204, 256, 288 and 252 bytes."""
