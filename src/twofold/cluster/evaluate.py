"""Batch inference: the requests of an evaluation, answered by the machines of a Ray cluster.

Invariant: the scores are those of one machine to the last bit, since every worker gets whole
batches. The workers are Ray actors, since Ray Data would choose the blocks itself.
"""

import socket
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import ray
import torch
from ray.exceptions import RayError, RayTaskError
from ray.util import ActorPool

from twofold.cluster.machines import LOSSES, device_there, room_for, work_in
from twofold.records import InputError, Ranking, Request, Run
from twofold.retrieval.generative import GenerativeRetriever, load_model
from twofold.tasks.evaluate import Answered

SHARDS = 8
"""The number of parts of the requests per worker; a lost or slow machine delays only one part."""


class RayRetriever:
    """A retriever whose requests are answered by workers of the cluster, each with the model.

    Args:
        model: the model, which divides the requests into batches.
        folder: the model folder, at the same path on every machine.
        workers: the number of workers; by default as many as the cluster has resources for.
        threads: the CPU threads of a worker.
        device: `cpu`, `cuda` for one GPU for each worker, or `auto` for `cuda` if the cluster has
            GPUs.
    """

    def __init__(
        self,
        model: GenerativeRetriever,
        folder: Path,
        workers: int | None = None,
        threads: int = 1,
        device: str = "cpu",
    ) -> None:
        self.name, self.reads_time = model.name, model.reads_time
        self._model = model
        device = device_there(device)
        gpus = int(device != "cpu")
        room = room_for({"CPU": threads, "GPU": 1} if gpus else {"CPU": threads})
        actor = ray.remote(_Worker).options(
            num_cpus=threads, num_gpus=gpus, max_restarts=LOSSES, max_task_retries=LOSSES
        )
        self._workers = [
            actor.remote(Path.cwd(), folder, threads, device) for _ in range(workers or room)
        ]

    def retrieve(self, requests: Sequence[Request], k: int) -> Run:
        """See `twofold.records.Retriever`.

        Raises:
            InputError: a worker was lost too often, or cannot load the model.
        """
        size = max(1, len(requests) // (SHARDS * len(self._workers)))
        pool, rankings = ActorPool(self._workers), dict[str, Ranking]()
        answered = Answered(self.name, len(requests))
        shards = self._model.shards(requests, k, size)
        try:
            for run in pool.map_unordered(
                lambda worker, shard: worker.run.remote(shard, k), shards
            ):
                rankings |= run.rankings
                answered.log(len(rankings))
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"a worker of the cluster was lost {LOSSES + 1} times ({reason}); give fewer "
                f"--workers if memory was short"
            ) from error
        return Run(self.name, {key: rankings[key] for key in (r.request_id for r in requests)})


class _Worker:
    """Answers requests in a process of the cluster.

    Args:
        place: the working directory of the command.
        folder: the model folder.
        threads: the number of CPU threads.
        device: the device of the model.
    """

    def __init__(self, place: Path, folder: Path, threads: int, device: str) -> None:
        work_in(place)
        torch.set_num_threads(threads)
        self._folder, self._device = folder, device

    @cached_property
    def _model(self) -> GenerativeRetriever:
        try:
            return load_model(self._folder, self._device)
        except InputError as error:
            raise InputError(f"machine {socket.gethostname()} of the cluster: {error}") from error

    def run(self, requests: Sequence[Request], k: int) -> Run:
        return self._model.retrieve(requests, k)
