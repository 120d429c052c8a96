"""Let dask workers do the cases: local processes on the loopback interface, or those of any running scheduler.

Serves `batch`. A worker that dies costs the case it worked on one try, and the others nothing. Few cases are on their
way at once and each is forgotten as soon as it is settled, so the driver's memory does not grow with the batch.

References:
    Dask's documentation, distributed.dask.org: "Resilience" (allowed failures), "Worker Memory Management".
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flare_core.attempt import FAILED, Cases, Outcome, attempt
from flare_core.machine import usable_cores

if TYPE_CHECKING:
    from distributed import Client, Future

    from flare_core.batch import Engine, Work

log = logging.getLogger(__name__)

LONGEST_CALL_S = 20
"""A scheduler that does not answer by then is not there."""
LOOK_S = 5
"""So often somebody looks whether the workers are still there."""
PATIENCE_S = 300
"""When no local worker was seen for so long, the batch stops."""
SCHEDULER_LOST = "the connection to the dask scheduler is lost"
QUIET = {
    "distributed.scheduler.allowed-failures": 0,  # `batch` itself tries a killed case once more, alone
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.admin.low-level-log-length": 100,  # 100,000 by default, for each worker and the scheduler
    "distributed.deploy.lost-worker-timeout": "2 minutes",  # on a busy machine a start takes long
    "distributed.worker.memory.target": False,  # results are small: there is nothing to move to the disk,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,  # and a worker that waits for memory would wait for ever
    "distributed.worker.memory.terminate": 0.98,
}
"""Settings of local schedulers and workers."""


@contextmanager
def dask_work(engine: Engine, function: Callable[[Any], Any], title: str) -> Iterator[Work]:
    """Start or find the workers, and give what does cases with them.

    Args:
        engine: how many, or where.
        function: what is done; it and the items must be picklable.
        title: begins the names of the tasks.
    Raises:
        ValueError: if no scheduler answers at the address, or the machine has less memory than the workers may take.
    """
    from distributed.protocol import pickle

    share = 0 if engine.scheduler else max(1, usable_cores() // engine.workers)
    workers = 0 if engine.scheduler else engine.workers
    own = uuid4().hex  # two drivers of one scheduler may have cases of the same names
    with _client(engine, share) as client:
        task = partial(_attempt_in_worker, pickle.dumps(function), share=share)
        driver = _Driver(client, task, f"{title}-{own}", workers)

        def work(cases: Cases, careful: bool) -> Iterator[tuple[str, Outcome]]:
            for case, outcome in driver.outcomes(cases, careful):
                for line in outcome.warnings:
                    log.warning("%s: %s", case, line)
                yield case, outcome

        yield work


@contextmanager
def _client(engine: Engine, share: int) -> Iterator[Client]:
    """Connect to the scheduler of the engine, or start a local one with its workers."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    if engine.scheduler:
        try:
            client = Client(engine.scheduler, timeout=LONGEST_CALL_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"no dask scheduler answers at {engine.scheduler!r}: {error}") from None
        with client:
            if not client.nthreads():
                log.warning("no worker at %s yet; cases start when one joins", engine.scheduler)
            yield client
        return
    limit = engine.memory_limit or MEMORY_LIMIT // engine.workers
    if limit * engine.workers > MEMORY_LIMIT:
        raise ValueError(
            f"{engine.workers} workers of {limit / 1e9:.2f} GB need {engine.workers * limit / 1e9:.2f} GB, this "
            f"machine has {MEMORY_LIMIT / 1e9:.2f} GB; use fewer workers, or give each less memory"
        )
    limited = {f"{library}_NUM_THREADS": str(share) for library in ("OMP", "MKL", "OPENBLAS")}
    with dask.config.set(QUIET), _silence("distributed"):
        cluster = LocalCluster(
            n_workers=engine.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=limit,
            silence_logs=logging.CRITICAL,
            env=limited,
        )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def _silence(name: str) -> Iterator[None]:
    """Let a library keep to itself what it does meanwhile; what matters comes back as a case's outcome."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@dataclass(frozen=True)
class _Driver:
    """Hands cases to the workers of a scheduler and waits for what becomes of them.

    Attributes:
        client: of the scheduler.
        task: does an item in a worker.
        prefix: begins the names of the tasks.
        workers: how many local ones there should be, 0 for those of a scheduler.
    """

    client: Client
    task: Callable[[Any], Outcome]
    prefix: str
    workers: int

    def outcomes(self, cases: Cases, careful: bool) -> Iterator[tuple[str, Outcome]]:
        """Yield what became of each case as it happens; where the scheduler is lost, the batch is told to stop.

        Of several cases at a worker that dies dask blames each; careful is one case at a time, so that only the guilty
        is.
        """
        from distributed.client import ClosedClientError

        left, running = iter(cases), {}
        try:
            yield from self._as_they_end(left, running, careful)
        except (CancelledError, ClosedClientError, OSError) as error:  # dask's own: what a case raises is its outcome
            log.debug("the scheduler is lost", exc_info=error)
            lost = list(running) or [case for case, _ in left][:1]  # one at least, which tells the batch
            yield from ((case, Outcome(FAILED, error=SCHEDULER_LOST, stops=True)) for case in lost)

    def _as_they_end(
        self, left: Iterator[tuple[str, Any]], running: dict[str, Future | None], careful: bool
    ) -> Iterator[tuple[str, Outcome]]:
        """Keep one case on its way (in `running`) for each worker that is there, and yield what became of it."""
        from distributed import wait
        from distributed.protocol import pickle

        seen = time.monotonic()
        while True:
            threads = self.client.nthreads()
            seen = time.monotonic() if threads or not self.workers else seen
            if len(threads) < self.workers:
                self._replace_lost()
            room = 1 if careful else max(1, sum(threads.values()))
            while len(running) < room and (pair := next(left, None)) is not None:
                case, item = pair
                running[case] = None  # so that it is known here, whatever becomes of the sending
                key = (f"{self.prefix}-{careful}", case)
                running[case] = self.client.submit(self.task, pickle.dumps(item), key=key, pure=False)
            if not running:
                return
            try:
                with self.client.as_current():
                    finished = wait(list(running.values()), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                finished = set(running.values()) if time.monotonic() > seen + PATIENCE_S else set()
            for case in [case for case, future in running.items() if future in finished]:
                yield case, _outcome(running.pop(case))

    def _replace_lost(self) -> None:
        """Start a worker for each that dask has given up: one that is killed while it starts again is left dead."""
        from distributed.core import Status

        cluster = self.client.cluster
        alive = sum(nanny.status not in (Status.closed, Status.failed) for nanny in cluster.workers.values())
        coming = len(cluster.worker_spec.keys() - cluster.workers.keys())
        cluster.scale(len(cluster.worker_spec) + max(0, self.workers - alive - coming))


def _outcome(future: Future) -> Outcome:
    """Return what became of a finished task, also where its worker is gone."""
    from distributed.scheduler import KilledWorker

    if not future.done():
        return Outcome(FAILED, error="all dask workers are gone, and none came back", stops=True)
    try:
        return future.result()
    except KilledWorker:  # while it worked, or before it handed over what it had done
        reason = "its worker process was killed, by the system for want of memory if by nobody else"
        return Outcome(FAILED, error=f"KilledWorker: {reason}", may_pass=True)
    except CancelledError:
        return Outcome(FAILED, error=SCHEDULER_LOST, stops=True)
    except Exception as error:  # what dask itself could not do with this case
        return Outcome.of_error(error)


def _attempt_in_worker(function: bytes, item: bytes, share: int) -> Outcome:
    """Do a case in a worker process, on its share of the cores (0: all), and measure the memory of this case alone.

    The pickles are opened here: what cannot be opened fails, where dask would cut the worker's connection.
    """
    from distributed.protocol import pickle

    if share:
        _keep_to(share)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark; where that is not allowed it stays
    return attempt(lambda _: pickle.loads(function)(pickle.loads(item)), None)


def _keep_to(share: int) -> None:
    """Keep this worker to some of the cores, so that libraries which count them start as many threads."""
    from distributed import get_worker

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) <= share:
        return
    first = int(get_worker().name) * share % len(cores)
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores[first : first + share])
