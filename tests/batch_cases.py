"""Cases that do what they are told, in whatever process: the workers of a batch import them from here."""

import logging
import os
import signal
import time
from pathlib import Path

import psutil

from flare_core.batch import Reused
from flare_core.storage import finished_file


def work(item):
    """Leave a mark of every try in a folder, then do what the item says."""
    folder, name, wish = item
    tries = sorted(Path(folder).glob(f"{name}.*"))
    (Path(folder) / f"{name}.{len(tries)}").touch()
    if wish == "dies" or (wish == "dies once" and not tries):
        os.kill(os.getpid(), signal.SIGKILL)
    if wish == "fails" or (wish == "fails once" and not tries):
        raise RuntimeError(f"{name} {wish}")
    if wish == "warns":
        logging.getLogger("flare_core.somewhere").warning("a word of warning")
    if wish == "waits":
        time.sleep(60)
    if wish == "takes memory":
        return len(bytearray(200 * 2**20))
    if wish == "looks around":
        listening = [c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN"]
        return len(os.sched_getaffinity(0)), os.environ["OMP_NUM_THREADS"], set(listening)
    return Reused(name) if wish == "is there" else name


def write_slowly(item):
    """Write a case's file, piece by piece, unless it is there."""
    path = Path(item[0]) / f"{item[1]}.txt"
    if path.is_file():
        return Reused(item[1])
    with finished_file(path) as temporary, temporary.open("w") as file:
        for number in range(20):
            file.write(f"{item[1]} {number}\n")
            file.flush()
            time.sleep(0.005)
    return item[1]
