"""Run one command as a process of its own; write what it needed as JSON.

    python -I -S launch.py RESULT.json LOG MOST_MIB COMMAND [ARGUMENT ...]

Started by `side_by_side.py` for every run. It imports almost nothing, because a new process counts the memory of the
one that started it as its own: from a process that holds arrays, every peak would be at least as large as those. A
command that takes more than MOST_MIB (0: as much as it likes) is killed: `out_of_memory` is true then, as it is where
the system killed it. Where there is no /proc nobody looks.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

KIB_A_UNIT = 1 / 1024 if sys.platform == "darwin" else 1  # of ru_maxrss


def watch(process: subprocess.Popen, most_mib: int) -> None:
    """Kill a process once it holds more memory than it may."""
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        while True:
            with open(f"/proc/{process.pid}/statm") as sizes:
                if int(sizes.read().split()[1]) * page > most_mib * 2**20:
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.05)
    except (OSError, IndexError):
        pass  # it has ended


def main() -> None:
    """Run, wait, write seconds, peak memory in MiB (of the largest process) and exit code."""
    result, log, most_mib, *command = sys.argv[1:]
    with open(log, "a") as words:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=words, stderr=words, stdin=subprocess.DEVNULL)
        if int(most_mib):
            threading.Thread(target=watch, args=(process, int(most_mib)), daemon=True).start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    peak_mib = usage.ru_maxrss * KIB_A_UNIT / 1024
    exit_code = os.waitstatus_to_exitcode(status)
    found = {"seconds": seconds, "peak_mib": peak_mib, "exit_code": exit_code}
    found["out_of_memory"] = exit_code == -signal.SIGKILL
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
