"""`twofold serve` as a Ray Serve deployment: every replica runs the same application.

Invariant: all replicas return the same answers. The log of catalog changes has one writer, and a
reload reaches a single replica, so several replicas can neither change the catalog nor reload.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twofold import artifact
from twofold.cluster.connection import connected
from twofold.model.stamp import KIND
from twofold.records import InputError
from twofold.serving.http.keys import Key
from twofold.serving.settings import ServingSettings

_log = logging.getLogger(__name__)


def serve_on_ray(
    folder: Path,
    *,
    replicas: int = 1,
    address: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    state: Path | None = None,
    keys: Sequence[Key] = (),
    threads: int = 1,
    device: str = "cpu",
) -> None:
    """Serve a model folder until interrupted or, on a running cluster, until it is removed there.

    Args:
        folder: the model folder, at the same path on every node.
        replicas: number of serving processes.
        address: address of a running cluster, or `auto`; None starts one on this machine.
        host: address that the HTTP proxies bind.
        port: port of the HTTP proxies.
        state: folder that keeps catalog changes; needs a single replica.
        keys: see `create_app`.
        threads: CPU threads of a replica, which reserves as many cores.
        device: `cpu`, or `cuda` for one GPU for each replica.

    Raises:
        InputError: several replicas would write one log, or there is no model folder.
    """
    _require_one_writer(state, replicas)
    artifact.load(folder, KIND)
    from ray import serve

    folder, state = folder.resolve(), state.resolve() if state else None
    settings, reloads = ServingSettings(), replicas == 1

    def build() -> Any:  # runs in the replica, as a model cannot be pickled
        return _app(folder, settings, state=state, keys=keys, device=device, reloads=reloads)

    with connected(address), contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray would report a crash
        serve.start(http_options={"host": host, "port": port})
        deployment = serve.deployment(
            serve.ingress(build)(),
            name=folder.name,
            num_replicas=replicas,
            max_ongoing_requests=_most_requests(settings),
            ray_actor_options=_resources(threads, device),
        )
        serve.run(deployment.bind(), name="twofold", route_prefix="/")
        _log.info("serving at http://%s:%d", host, port)
        if address is None:  # the cluster ends with this process
            try:
                threading.Event().wait()
            finally:
                serve.shutdown()


def _require_one_writer(state: Path | None, replicas: int) -> None:
    if state is not None and replicas > 1:
        raise InputError(
            f"--state with --replicas {replicas}: the log of catalog changes has one writer; "
            f"give --replicas 1, or leave --state out"
        )


def _app(folder: Path, settings: ServingSettings, **options: Any) -> Any:
    from twofold.serving.http.process import loading_models

    with loading_models():
        from twofold.serving.app_from_folders import app_from_folders

        return app_from_folders({folder.name: folder}, settings, **options)


def _most_requests(settings: ServingSettings) -> int:
    """The largest number of requests that Ray passes to a replica at once.

    It is larger than the queue, so that the application refuses the rest, with Retry-After.
    """
    return 2 * (settings.max_queue_size + settings.max_batch_size)


def _resources(threads: int, device: str) -> dict[str, Any]:
    """The Ray resources of a replica."""
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    return {
        "num_cpus": threads,
        "num_gpus": int(device == "cuda"),
        "runtime_env": {"env_vars": environment},
    }
