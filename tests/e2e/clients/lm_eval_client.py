"""lm-evaluation-harness: log-likelihoods of the documents of a file, with the server's tokenizer.

    python lm_eval_client.py BASE_URL MODEL

It writes one line of JSON for each document of `continuations.jsonl`: context, continuation, and the sum of the log
probabilities of the continuation's tokens.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}

import lm_eval  # type: ignore[import-not-found]
from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]

FILE = Path(__file__).with_name("continuations.jsonl")
TASK = f"""
task: continuations
dataset_path: json
dataset_kwargs: {{data_files: {{test: {FILE}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{context}}}}"
doc_to_target: "{{{{continuation}}}}"
target_delimiter: ""
metric_list: [{{metric: perplexity, aggregation: perplexity, higher_is_better: false}}]
"""


def main(base_url: str, model: str) -> None:
    """Evaluate the documents, and write what was found."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "continuations.yaml").write_text(TASK)
        found = lm_eval.simple_evaluate(
            model="local-completions",
            model_args=f"model={model},base_url={base_url}/completions,tokenizer_backend=remote,max_length=1024",
            tasks=["continuations"],
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            log_samples=True,
            bootstrap_iters=0,
        )
    for sample in found["samples"]["continuations"]:
        loglikelihood = sample["filtered_resps"][0][0]
        sys.stdout.write(json.dumps({**sample["doc"], "loglikelihood": float(loglikelihood)}) + "\n")


main(*sys.argv[1:])
