"""The standing trial: `python tests/trial [--minutes N] [--seed N] [--only NAME] [--runtime PATH] [-- GLOBAL OPTIONS]`.

As root, in a mount namespace of its own (`unshare -m`). Prints a table, and what went wrong in a form in which it can
be done again; exits with 1 if anything did.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ground import CHECKOUT, Ground, Result
from trials import TRIALS, minutes

COLUMNS = ("rounds", "tracebacks", "hangs", "leftovers", "harm", "growth")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="trial")
    parser.add_argument("--minutes", type=float, default=10, help="how long all of it may take")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", default="", help="trials whose name has this in it")
    parser.add_argument("--runtime", default=str(CHECKOUT / "build/pyrun"))
    parser.add_argument("wide", nargs="*", help="global options of pyrun's")
    given = parser.parse_args()
    chosen = [row for row in TRIALS if given.only in row[0]]
    shares = sum(share for _, _, share, _ in chosen)
    print(f"seed {given.seed}", flush=True)
    ground = Ground(given.runtime, given.wide)
    results = []
    try:
        for name, trial, share, _ in chosen:
            ground.result = Result(name)
            trial(ground, random.Random(f"{given.seed} {name}"), minutes(given.minutes * share / shares))
            results.append(ground.result)
            print(f"{name}: {ground.result.rounds} rounds", file=sys.stderr, flush=True)
    finally:
        ground.close()
    print(table(results))
    for result in results:
        for line in result.bad[:20]:
            print(f"\n{result.name}: {line}")
    return 0 if all(result.good for result in results) else 1


def table(results: list[Result]) -> str:
    rows = [("", *COLUMNS), *((r.name, *(str(getattr(r, column)) for column in COLUMNS)) for r in results)]
    return "\n".join(f"{row[0]:<30}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
