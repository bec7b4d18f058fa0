"""A soak of structured output: random schemas and those of SDK helpers on an engine with llama.cpp.

    python -m tests.soak.schemas --count 500 --seed 0 --model demo noise

Every output that the model ended must be valid for its schema. `noise` is a model of random weights with a vocabulary
of 152k tokens. A logit bias towards the ends of strings and brackets lets both models end most outputs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

import localrouter
from localrouter.bench.synthetic import model_shapes, model_writer, synthetic_vocabulary
from localrouter.chat.families.qwen import QWEN3
from localrouter.chat.grammar.output_grammar import JsonSchema, OutputRules, output_grammar
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Grammar, Sampling, Segment
from localrouter.engine.messages import Finished, Generate, Piece
from localrouter.load_options import LoadOptions

from .random_schemas import Schemas
from .sdk_schemas import SDK_TYPES

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
MODELS = {"demo": 6.0, "noise": 9.0}
"""Models, with the logit bias of tokens that end strings, lists and objects."""
WORDS = 151_936
MAX_TOKENS = 400
TOGETHER = 8
PROMPT = [Segment("<|im_start|>user\nTell me of it.<|im_end|>\n<|im_start|>assistant\n", control=True)]


@dataclass(frozen=True)
class Outcome:
    """The output for one schema: its text, and its finish reason or error code."""

    name: str
    text: str
    reason: str


@dataclass
class Tally:
    """Counts over the outputs for all schemas."""

    ended: int = 0
    cut: int = 0
    failed: list[Outcome] = field(default_factory=list)
    """Outputs that ended with an error."""
    invalid: list[Outcome] = field(default_factory=list)
    """Outputs that the model ended, and that are not valid for their schema."""
    seconds: float = 0

    def line(self, model: str) -> str:
        """Return all counts in one line."""
        return (
            f"{model}: {self.ended} ended by themselves, {self.cut} cut, {len(self.failed)} failed, "
            f"{len(self.invalid)} invalid; {self.seconds:.0f} s"
        )


def random_schemas(count: int, seed: int) -> dict[str, Any]:
    """Return `count` random schemas by name."""
    return {f"random {number}": Schemas(number).document() for number in range(seed, seed + count)}


def sdk_schemas() -> dict[str, Any]:
    """Return schemas, by name, that SDK helpers generate from types."""
    return {name: TypeAdapter(kind).json_schema() for name, kind in SDK_TYPES.items()}


def run(path: str, end_bias: float, schemas: Mapping[str, Any], seed: int) -> Tally:
    """Generate an output for each schema with the model at `path`, and return the counts."""
    tally, begin = Tally(), time.monotonic()
    backend = LlamaBackend(path, LoadOptions(context=1024, cells=TOGETHER * 1024, max_sequences=TOGETHER, threads=1))
    ends = {token: end_bias for text in ('"', "}", "]") for token in backend.tokenize([Segment(text, control=False)])}
    sampling = Sampling(seed=seed, logit_bias=ends)
    for outcome in _outcomes(Engine(backend), schemas, sampling):
        if outcome.reason == "stop":
            tally.ended += 1
            tally.invalid += [] if _is_valid(outcome.text, schemas[outcome.name]) else [outcome]
        elif outcome.reason == "length":
            tally.cut += 1
        else:
            tally.failed.append(outcome)
    backend.close()
    tally.seconds = time.monotonic() - begin
    return tally


def _outcomes(engine: Engine, schemas: Mapping[str, Any], sampling: Sampling) -> Iterator[Outcome]:
    """Yield the output for each schema as it ends; several are computed together."""
    names = list(schemas)
    waiting = iter(range(len(names)))
    texts: dict[int, list[str]] = {}
    while True:
        while len(texts) < TOGETHER and (number := next(waiting, None)) is not None:
            lark = output_grammar(OutputRules(JsonSchema(schemas[names[number]])), QWEN3, {}).lark
            assert lark is not None
            command = Generate(number, GenerationRequest(PROMPT, sampling, MAX_TOKENS, Grammar(lark)))
            refusal = engine.submit(command)
            if isinstance(refusal, Finished):
                yield Outcome(names[number], refusal.message or "", "refused")
            else:
                texts[number] = []
        if not texts:
            return
        for event in engine.step():
            if isinstance(event, Piece):
                texts[event.id].append(event.text)
            elif isinstance(event, Finished):
                yield Outcome(names[event.id], "".join(texts.pop(event.id)), event.code or event.reason)


def _is_valid(text: str, schema: Any) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return Draft202012Validator(schema).is_valid(value)


def write(folder: Path, model: str) -> str:
    """Return the path of a model. A model of random weights is written into the folder."""
    if model == "demo":
        return str(DEMO)
    words = synthetic_vocabulary.made_up(WORDS)
    path = folder / f"{model}.gguf"
    shape = replace(model_shapes.SHAPES["qwen3-tiny"], vocabulary=words.size, width=64)
    model_writer.write_model(path, model, shape, words, seed=1)
    return str(path)


def _details(tally: Tally) -> Iterable[str]:
    for outcome in (*tally.invalid, *tally.failed):
        yield f"  {outcome.name}: {outcome.reason}: {outcome.text}"


def main() -> None:
    """Run from the command line, and write a line for each model and for each invalid or failed output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="random schemas, beside those of SDK helpers (500)")
    parser.add_argument("--seed", type=int, default=0, help="another seed is other schemas (0)")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=[*MODELS], help="models (both)")
    asked = parser.parse_args()
    is_clean = True
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.model:
            schemas = random_schemas(asked.count, asked.seed) | sdk_schemas()
            tally = run(write(Path(folder), model), MODELS[model], schemas, asked.seed)
            sys.stdout.write("\n".join([tally.line(model), *_details(tally)]) + "\n")
            sys.stdout.flush()
            is_clean = is_clean and not tally.invalid and not tally.failed
    sys.exit(not is_clean)


if __name__ == "__main__":
    main()
