"""Run one command as a process of its own; write what it needed as JSON.

    python -I -S launch.py RESULT.json LOG COMMAND [ARGUMENT ...]

Started by `side_by_side.py` for every run. It imports almost nothing, because a new process counts the memory of the
one that started it as its own: from a process that holds arrays, every peak would be at least as large as those.
"""

import json
import os
import subprocess
import sys
import time

KIB_A_UNIT = 1 / 1024 if sys.platform == "darwin" else 1  # of ru_maxrss


def main() -> None:
    """Run, wait, write seconds, peak memory in MiB (of the largest process) and exit code."""
    result, log, *command = sys.argv[1:]
    with open(log, "a") as words:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=words, stderr=words, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    peak_mib = usage.ru_maxrss * KIB_A_UNIT / 1024
    found = {"seconds": seconds, "peak_mib": peak_mib, "exit_code": os.waitstatus_to_exitcode(status)}
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
