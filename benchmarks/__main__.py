"""Run every benchmark: each script here that imports `side_by_side` and has a `main`, in the order of names.

python benchmarks [NAME ...]     # or `make benchmarks`
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def benchmarks() -> dict[str, Path]:
    """Return name and script of every benchmark."""
    texts = {script: script.read_text() for script in sorted(HERE.glob("*.py"))}
    marks = ("\nfrom side_by_side import ", "\ndef main(")
    return {script.stem: script for script, text in texts.items() if all(mark in text for mark in marks)}


def main() -> int:
    """Run them one after the other; 1 if any failed, each named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(benchmarks())}; default: all")
    chosen = parser.parse_args().names or list(benchmarks())
    if unknown := set(chosen) - set(benchmarks()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(benchmarks())}")
    failed = []
    for name in chosen:
        print(f"\n{name}", flush=True)
        if subprocess.run([sys.executable, benchmarks()[name]]).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
