"""A T5 model trained by our loop, and by Hugging Face `Trainer` on the same data.

    python benchmarks/hf_trainer.py DATASET --out DIR [--backbone t5:small] [--batch-size 64]
        [--arm recommendation] [--precision float32 bfloat16] [--rounds 8] [--steps 10] [--short]

Both sides have a T5 of the same configuration and initial weights, the same batches of sequences of
similar length, AdamW, clipping, dropout, one thread, and one format of numbers. Ours is the loop of
`twofold train`, which averages the weights as well; theirs is `Trainer.train`, whose loss is over
all tokens. They take steps in turn, each in a process of its own, so that a slow moment of the
machine hits both. A table shows examples a second of processor time, the ratio over all rounds with
the least and the largest of a round, and the peak of memory. Needs `accelerate`, which `Trainer`
asks for. Writes DIR/hf_trainer.json.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from publish import add_publish_option, publish_records
from turns import Worker

SIDES = ("twofold", "Trainer")
STEPS = 1000
"""The steps of which `Trainer` is given the batches; after them it begins anew."""
SETTINGS = ("text_encoder=none", "item_init=random", "hybrid=none", "batch_tokens=1000000")


def prepared(arguments: argparse.Namespace, folder: str) -> Any:
    """Our training, ready for its first step."""
    import torch

    from twofold.tasks.storage import load_dataset
    from twofold.training.arm import named_arm
    from twofold.training.config import resolve_config
    from twofold.training.train import Training, prepare

    torch.set_num_threads(1)
    own = (
        f"backbone={arguments.backbone}",
        f"max_batch_size={arguments.batch_size}",
        f"precision={arguments.precision[0]}",
    )
    config = resolve_config("standard", None, (*SETTINGS, *own))
    data = load_dataset(arguments.dataset)
    run = Training(data, named_arm(arguments.arm), config, 0, torch.device("cpu"))
    return prepare(run.resolved(), Path(folder))


class Turns:
    """Answers on standard output what steps took; a line on standard input asks for so many."""

    def __init__(self) -> None:
        self._left = self._asked = self._examples = 0
        self._start = 0.0

    def before(self) -> None:
        """Wait for the next turn where the last one is over; a step follows."""
        if self._left:
            return
        if self._asked:
            answer = {
                "seconds": (time.process_time() - self._start) / self._asked,
                "examples": self._examples / self._asked,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(answer), flush=True)
        else:
            print("ready", flush=True)
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        self._asked = self._left = int(line)
        self._examples, self._start = 0, time.process_time()

    def after(self, examples: int) -> None:
        """Count a step."""
        self._left -= 1
        self._examples += examples


def train_ours(arguments: argparse.Namespace) -> None:
    """The loop of `twofold train`, without validations."""
    import torch

    from twofold.training import loop
    from twofold.training.optimizer import Average, optimizer_of
    from twofold.training.state import Progress

    with tempfile.TemporaryDirectory() as folder:
        ready = prepared(arguments, folder)
    backbone, vocabulary, job = ready.model.backbone, ready.model.vocabulary, ready.job
    optimizer, progress = optimizer_of(backbone, job.config), Progress()
    average, turns = Average(backbone, job.config.averaging), Turns()
    with loop._deterministic(torch.device("cpu")):
        while True:
            turns.before()
            _, examples = loop._step(backbone, vocabulary, job, optimizer, progress)
            average.update(progress)
            turns.after(examples)


def train_theirs(arguments: argparse.Namespace) -> None:
    """`Trainer.train` with a model of the same weights, on the same sequences."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        ready = prepared(arguments, folder)
    ours, vocabulary, job = ready.model.backbone, ready.model.vocabulary, ready.job
    model = type(ours.model)(ours.model.config)
    model.load_state_dict(ours.model.state_dict())
    rows = [_rows(source, vocabulary.code_start) for source in job.sources]
    steps = map(job.mixture.batch, range(STEPS))
    batches = [[rows[step.source][row] for row in step.rows] for step in steps]
    turns = Turns()

    class InTurn(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.before()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.after(seen.pop(0))

    seen: list[int] = []

    def collate(one: list[list[dict[str, Any]]]) -> dict[str, Any]:
        (batch,) = one
        seen.append(len(batch))
        tokens = [torch.tensor(row["input_ids"]) for row in batch]
        padded = torch.nn.utils.rnn.pad_sequence(tokens, True, vocabulary.pad)
        lengths = torch.tensor([len(each) for each in tokens])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        labels = torch.tensor([row["labels"] for row in batch])
        return {"input_ids": padded, "attention_mask": mask.long(), "labels": labels}

    given = TrainingArguments(
        output_dir=arguments.out,
        per_device_train_batch_size=1,  # a row of its dataset is a batch of ours
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        max_steps=1_000_000,
        learning_rate=job.config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=job.config.warmup_steps,
        weight_decay=job.config.weight_decay,
        max_grad_norm=job.config.max_grad_norm,
        bf16=job.config.precision == "bfloat16",
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model, given, data_collator=collate, train_dataset=batches, callbacks=[InTurn()]
    )
    trainer.train()


def _rows(source: Any, code_start: int) -> list[dict[str, Any]]:
    """The sequences as requests and the codes of an answer."""
    rows = []
    for example in source:
        levels = len(example.contexts)
        own = [int(example.targets[list(example.target_contexts).index(n)]) for n in range(levels)]
        tokens = example.tokens[: example.length].tolist()
        rows.append({"input_ids": tokens, "labels": [code_start + code for code in own]})
    return rows


def side_of(side: str, precision: str, arguments: argparse.Namespace) -> Worker:
    """One side, in a process of its own."""
    script = [__file__, arguments.dataset, "--out", arguments.out]
    script += ["--side", side, "--precision", precision, "--arm", arguments.arm]
    script += ["--backbone", arguments.backbone, "--batch-size", str(arguments.batch_size)]
    return Worker(script, f"{side} on {arguments.dataset}")


def compare(precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A record of one format of numbers: both sides in turn."""
    sides = [side_of(side, precision, arguments) for side in SIDES]
    for side in sides:
        side.take(arguments.steps)
    rounds = [[side.take(arguments.steps) for side in sides] for _ in range(arguments.rounds)]
    for side in sides:
        side.end()

    def total(side: int, value: Callable[[dict[str, float]], float]) -> float:
        return sum(value(each[side]) for each in rounds) / len(rounds)

    def rate(side: int) -> float:
        """Examples a second; every round has as many steps."""
        return total(side, lambda a: a["examples"]) / total(side, lambda a: a["seconds"])

    record: dict[str, Any] = {"precision": precision}
    for number, name in enumerate(SIDES):
        record[f"{name}, examples a step"] = total(number, lambda answer: answer["examples"])
        record[f"{name}, examples a second"] = rate(number)
        record[f"{name}, peak memory, MB"] = rounds[-1][number]["peak"]
    ratios = sorted(theirs["seconds"] / ours["seconds"] for ours, theirs in rounds)
    return record | {"times as fast": [rate(0) / rate(1), ratios[0], ratios[-1]]}


def main() -> None:
    """Compare both sides, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", nargs="?", default="simulate:catalog")
    parser.add_argument("--out", required=True)
    parser.add_argument("--arm", default="recommendation")
    parser.add_argument("--backbone", default="t5:small")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--short", action="store_true", help="a minute: one format, fewer steps")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    add_publish_option(parser)
    arguments = parser.parse_args()
    if arguments.side:
        (train_ours if arguments.side == SIDES[0] else train_theirs)(arguments)
        return
    if arguments.short:
        arguments.rounds, arguments.steps, arguments.precision = 3, 5, ["float32"]
    records = []
    for precision in arguments.precision:
        records.append(compare(precision, arguments))
        print(json.dumps(records[-1]), flush=True)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "hf_trainer.json").write_text(json.dumps(records, indent=2) + "\n")
    publish_records(
        arguments.publish,
        "train",
        "A T5 model, by our loop and by Hugging Face Trainer",
        records,
        seeds="one; the same examples on both sides",
        protocol=f"{arguments.backbone}, batches of {arguments.batch_size}, one thread, processor "
        f"time, {arguments.rounds} rounds of {arguments.steps} steps in turn",
    )


if __name__ == "__main__":
    main()
