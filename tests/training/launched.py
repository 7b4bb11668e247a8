"""`twofold` as torchrun starts it in the tests: each process logs what it reads, and may stop.

LOG names a folder: `RANK.jsonl` there has a line for each micro-batch that a process reads,
and `RANK.pid` its process. UNTIL is a step, at the first validation after which the training is
left with its state, as if all processes had been stopped. A state is saved at every validation.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from twofold.cli import main
from twofold.training import loop
from twofold.training.state import Progress

LOG, UNTIL = Path(os.environ["LOG"]), int(os.environ.get("UNTIL", "0"))
RANK = os.environ.get("RANK", "0")

learn, whole = loop._learn, loop.run
loop.SAVED_EVERY, loop.SAVING = 0.0, 1e9


def logged(backbone: Any, vocabulary: Any, job: loop.Job, step: int, micro_batch: int) -> Any:
    """Write down which rows are taken."""
    planned = job.mixture.batch(step)
    rows = planned.micro_batch(micro_batch, job.processes.micro_batches).tolist()
    with (LOG / f"{RANK}.jsonl").open("a") as file:
        entry = {"step": step, "source": planned.source, "rows": rows, "time": time.time()}
        file.write(json.dumps(entry) + "\n")
    return learn(backbone, vocabulary, job, step, micro_batch)


def stopped(backbone: Any, vocabulary: Any, job: loop.Job, states: Path) -> Progress:
    """Train until UNTIL, and go without a word."""
    whole(backbone, vocabulary, job, states, UNTIL)
    os._exit(0)


if __name__ == "__main__":
    LOG.mkdir(exist_ok=True)
    (LOG / f"{RANK}.pid").write_text(str(os.getpid()))
    loop._learn = logged
    if UNTIL:
        loop.run = lambda *arguments: stopped(*arguments[:4])
    main()
