"""Files of a model: one GGUF, or all parts of a split one, which llama.cpp loads from its first part."""

import re

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def parts(file: str) -> tuple[str, ...]:
    """Return the names of all parts of a model, in order, by the name of one of them; most models are one file.

    A part is named `STEM-00001-of-00003.gguf`, as llama.cpp's gguf-split writes it.
    """
    split = _SPLIT.fullmatch(file)
    if split is None or not 1 <= int(split["number"]) <= int(split["count"]):
        return (file,)
    count = int(split["count"])
    return tuple(f"{split['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))
