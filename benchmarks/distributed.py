"""Two processes that train one model, against one process with the same global batch.

    python benchmarks/distributed.py DATASET --out DIR [--rounds 8] [--steps 10] [--short]
        [--batch-tokens 1024 8192] [--cores 0 1]

Both sides are ready at once and take steps in turn, one thread each: one process by itself, then
two by `torch.distributed` (gloo). For every batch size a table shows the time and the processor
time of a step, examples a second, their ratios, the share of the time that the all-reduce took,
waiting for the other process included, and the peak of memory of a process. On cores that do other
work as well, the ratio of processor times is what two quiet cores would give at best.

Then torchrun trains with two processes, of which one is killed with SIGKILL after a state was
saved; the table shows the seconds from there to the next step, and how much of it the processes
computed. Writes DIR/distributed.json.
"""

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from publish import add_publish_option, describe_run, publish_run, table_of

SETTINGS = ("backbone=decoder:small", "dropout=0.1")


def work(arguments: argparse.Namespace) -> None:
    """Answer on standard output what steps took; a line with a number asks for so many."""
    import torch

    from twofold.cluster.processes import joined
    from twofold.tasks.storage import load_dataset
    from twofold.training import loop
    from twofold.training.arm import named_arm
    from twofold.training.config import resolve_config
    from twofold.training.optimizer import optimizer_of, row_wise_tables
    from twofold.training.state import Progress
    from twofold.training.train import Training, prepare

    torch.set_num_threads(1)
    settings = (*SETTINGS, f"batch_tokens={arguments.batch_tokens[0]}", "max_batch_size=0")
    config = resolve_config("standard", None, settings)
    with joined("cpu") as processes, tempfile.TemporaryDirectory() as folder:
        place = torch.device("cpu")
        data = load_dataset(arguments.dataset)
        run = Training(data, named_arm(arguments.arm), config, 0, place, processes=processes)
        ready = prepare(run.resolved(), Path(folder))
        backbone, vocabulary, job = ready.model.backbone, ready.model.vocabulary, ready.job
        spent = _timed(processes)
        tables = row_wise_tables(backbone, job.config) if job.loss.is_sparse else []
        optimizer, progress = optimizer_of(backbone, job.config, tables), Progress()
        print("ready", flush=True)
        for line in sys.stdin:
            before, clock, processor = dict(spent), time.perf_counter(), time.process_time()
            examples = 0
            with loop._deterministic(place):
                for _ in range(int(line)):
                    examples += loop._step(backbone, vocabulary, job, optimizer, progress)[1]
            answer = {
                "seconds": time.perf_counter() - clock,
                "processor": time.process_time() - processor,
                "all-reduce": spent["seconds"] - before["seconds"],
                "all-reduce, processor": spent["processor"] - before["processor"],
                "examples": examples,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(answer), flush=True)


def _timed(processes: Any) -> dict[str, float]:
    """The time that the sum of gradients takes from now on."""
    spent, plain = {"seconds": 0.0, "processor": 0.0}, processes.all_reduce_gradients

    def timed(*arguments: Any) -> Any:
        clock, processor = time.perf_counter(), time.process_time()
        summed = plain(*arguments)
        spent["seconds"] += time.perf_counter() - clock
        spent["processor"] += time.process_time() - processor
        return summed

    processes.all_reduce_gradients = timed
    return spent


class Side:
    """Processes that train together, and wait until they are asked for steps."""

    def __init__(self, size: int, tokens: int, arguments: argparse.Namespace) -> None:
        command = [sys.executable, __file__, arguments.dataset, "--out", arguments.out, "--work"]
        command += ["--arm", arguments.arm, "--batch-tokens", str(tokens)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        self._processes = []
        for rank in range(size):
            own = {"RANK": str(rank), "WORLD_SIZE": str(size), **group} if size > 1 else {}
            pin = ["taskset", "-c", str(arguments.cores[rank])] if arguments.cores else []
            self._processes.append(
                subprocess.Popen(
                    [*pin, *command],
                    env={**os.environ, "OMP_NUM_THREADS": "1", **own},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        if any(self._read(process) != "ready" for process in self._processes):
            raise SystemExit(f"{arguments.dataset}: the training did not start")

    def _read(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    def take(self, steps: int) -> dict[str, float]:
        """Take steps: of each figure, that of the slowest or largest process."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        answers = [json.loads(self._read(process)) for process in self._processes]
        return {key: max(answer[key] for answer in answers) for key in answers[0]}

    def end(self) -> None:
        for process in self._processes:
            assert process.stdin
            process.stdin.close()
        for process in self._processes:
            process.wait()


def compare(tokens: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """A record of one batch size: both sides in turn."""
    sides = [Side(size, tokens, arguments) for size in (1, 2)]
    for side in sides:
        side.take(arguments.steps)
    rounds = [[side.take(arguments.steps) for side in sides] for _ in range(arguments.rounds)]
    for side in sides:
        side.end()

    def middle(side: int, key: str) -> float:
        return statistics.median(each[side][key] for each in rounds)

    def ratio(key: str) -> list[float]:
        ratios = sorted(one[key] / two[key] for one, two in rounds)
        return [statistics.median(ratios), ratios[0], ratios[-1]]

    examples = middle(0, "examples")
    return {
        "batch tokens": tokens,
        "examples a step": examples / arguments.steps,
        "one process, ms": middle(0, "seconds") / arguments.steps * 1e3,
        "two processes, ms": middle(1, "seconds") / arguments.steps * 1e3,
        "one process, examples a second": examples / middle(0, "seconds"),
        "two processes, examples a second": examples / middle(1, "seconds"),
        "times as fast": ratio("seconds"),
        "times as fast by processor time": ratio("processor"),
        "share of the all-reduce": middle(1, "all-reduce") / middle(1, "seconds"),
        "of processor time": middle(1, "all-reduce, processor") / middle(1, "processor"),
        "peak memory of one, MB": rounds[-1][0]["peak"],
        "peak memory of each of two, MB": rounds[-1][1]["peak"],
    }


STEPS_TOLD = """
import os, sys, time
from twofold.cli import main
from twofold.training import loop
step, place = loop._step, os.environ["TOLD"] + "." + os.environ["RANK"]
open(place + ".pid", "w").write(str(os.getpid()))
loop.SAVED_EVERY, loop.LONGEST_UNSAVED, loop.SAVING = 0.0, 1.0, 1e9
def told(*arguments):
    with open(place, "a") as file:
        file.write(f"{time.time()} {time.process_time()} {arguments[-1].step}\\n")
    return step(*arguments)
loop._step = told
main()
"""
"""`twofold` that writes down when each step begins, and saves a state every second at least."""


def kill(dataset: str, arm: str, cores: Sequence[int]) -> dict[str, Any]:
    """A record of a training of which one of two processes is killed."""
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        script = folder / "twofold_told.py"
        script.write_text(STEPS_TOLD)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "--max-restarts", "1", str(script), "train", dataset]
        command += ["--out", str(folder / "model"), "--arm", arm, "--threads", "1"]
        command += ["--device", "cpu", "--max-steps", "80"]
        command += [part for setting in SETTINGS for part in ("--set", setting)]
        pin = ["taskset", "-c", ",".join(map(str, cores))] if cores else []
        running = subprocess.Popen(
            [*pin, *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOLD": str(folder / "told")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        told = folder / "told.0"
        while not (list(folder.glob(".model.training/step-*")) and _steps(told) > 20):
            if running.poll() is not None:
                raise SystemExit("the training ended before it could be killed")
            time.sleep(0.01)
        os.kill(int((folder / "told.1.pid").read_text()), signal.SIGKILL)
        died = time.time()
        if running.wait():
            raise SystemExit("the training did not come back")
        steps = [tuple(map(float, line.split())) for line in told.read_text().splitlines()]
        lost = max(step for clock, _, step in steps if clock <= died + 0.2)
        clock, processor, step = next(
            each for each in steps if each[2] <= lost and each[0] > died + 0.2
        )
        return {
            "killed after step": lost,
            "continues at step": step,
            "seconds from the kill to the next step": clock - died,
            "of them computed by a process": processor,
        }


def _steps(told: Path) -> int:
    """How many steps a process has begun."""
    return len(told.read_text().splitlines()) if told.exists() else 0


def main() -> None:
    """Compare one process with two, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset", nargs="?", default="simulate:catalog")
    parser.add_argument("--out", required=True)
    parser.add_argument("--arm", default="joint")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[1024, 8192])
    parser.add_argument("--cores", type=int, nargs="*", help="the core of each process")
    parser.add_argument("--short", action="store_true", help="a minute: fewer steps, one size")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    add_publish_option(parser)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments)
        return
    if arguments.short:
        arguments.rounds, arguments.steps, arguments.batch_tokens = 3, 5, [8192]
    records = []
    for tokens in arguments.batch_tokens:
        records.append(compare(tokens, arguments))
        print(json.dumps(records[-1]), flush=True)
    killed = kill(arguments.dataset, arguments.arm, arguments.cores or [])
    print(json.dumps(killed))
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    found = {"steps": records, "kill": killed}
    (out / "distributed.json").write_text(json.dumps(found, indent=2) + "\n")
    if arguments.publish:
        run = describe_run(
            arguments.publish,
            "One process and two, the same batches",
            [table_of(records), table_of([killed])],
            seeds="one; the same batches on both sides",
            protocol=f"decoder of size small, gloo, one thread a process; {arguments.rounds} "
            f"rounds of {arguments.steps} steps in turn; of the kill, one training",
        )
        publish_run("distributed", run)


if __name__ == "__main__":
    main()
