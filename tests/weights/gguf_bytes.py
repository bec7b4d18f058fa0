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
