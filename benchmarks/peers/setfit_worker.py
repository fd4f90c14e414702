"""SetFit on one cell after another, in an environment of its own (`make bench-setup`).

    .venv-bench/bin/python -m benchmarks.peers.setfit_worker MODEL_FOLDER < cells.jsonl

A line in: {"texts", "labels", "asked", "seed"}. A line out: {"answers", "cpu_seconds", "wall_seconds", "peak_mb"}, and
"device" where it ran on a GPU, which it takes where there is one. The settings are the paper's (Tunstall et al. 2022): 20 iterations of pairs, one epoch, batches of 16, rate 2e-5, logistic
regression on top. kshot is not imported here.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time

import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

from benchmarks.memory import peak_mb


def answered(folder: str, cell: dict) -> dict:
    """Train on a cell's texts, answer what is asked."""
    peak_mb(reset=True)
    model = SetFitModel.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as out:
        settings = TrainingArguments(
            output_dir=out,
            num_iterations=20,
            num_epochs=1,
            batch_size=16,
            body_learning_rate=2e-5,
            seed=cell["seed"],
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            show_progress_bar=False,
        )
        begun, started = time.time(), time.process_time()
        data = Dataset.from_dict({"text": cell["texts"], "label": cell["labels"]})
        Trainer(model=model, args=settings, train_dataset=data).train()
        cpu, wall = time.process_time() - started, time.time() - begun
    peak = peak_mb()
    found = model.predict(cell["asked"], batch_size=32, show_progress_bar=False)
    return {
        "answers": [str(a) for a in found],
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "peak_mb": round(peak),
        **({"device": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def main() -> None:
    """Answer every line."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with answers
    for line in sys.stdin:
        print(json.dumps(answered(sys.argv[1], json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
