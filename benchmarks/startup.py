#!/usr/bin/env python3
"""How long a job takes to say its `--help`, to refuse a wrong config, and the package to import.

Baselines: `python -c pass`, which is all Python needs, and `import torch`, which a job that imported at its top all
that it may need would wait for. Each is run `--repeats` times in turn with the baselines; the best counts.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

JOBS = Path(__file__).parent.parent / "jobs"
CONFIG = JOBS.parent / "configs" / "multi3.yaml"
NOTHING, TORCH = "python -c pass", "import torch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    commands = {
        NOTHING: ["-c", "pass"],
        TORCH: ["-c", "import torch"],
        "import hpc_massmap": ["-c", "import hpc_massmap"],
    }
    for job in sorted(JOBS.glob("[a-z]*.py")):
        commands[f"{job.stem} --help"] = [str(job), "--help"]
    commands["a config error of train"] = [str(JOBS / "train.py"), str(CONFIG), "train.batch_size=0"]
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(args.repeats):
        for name, words in commands.items():
            best[name] = min(best[name], seconds(words))
    for name, took in best.items():
        against = f"{took / best[NOTHING]:5.1f} x {NOTHING}, {took / best[TORCH]:5.2f} x {TORCH}"
        print(f"{name:24} {took:6.3f} s  {against}")


def seconds(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
