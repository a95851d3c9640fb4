"""Counts the bytecode instructions of one request of each kind, and compares them with a committed baseline.

A count does not depend on the machine or on its load, so five per cent more is a finding, not noise. It says nothing of
what is written in C, nor of waiting: see ``stages.py`` for where the time goes.

``python bench/instructions.py`` compares, and exits with 1 if a kind executes more than the tolerance allows.
``--accept`` writes the counts into the baseline. ``--by-function --kind one`` shows where they are executed; ``--save``
keeps that for a later ``--against``, which shows what has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from fixed_clock import FixedClock

BASELINE = Path(__file__).parent / "baseline.json"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
TOLERANCE = 0.05
HOW_TO_ACCEPT = "python bench/instructions.py --accept"


def read_baseline(path: Path = BASELINE) -> dict[str, int] | None:
    """Return the counts for this version of Python, whose bytecode no other version has; None if there are none."""
    if not path.exists():
        return None
    counts: dict[str, int] | None = json.loads(path.read_text()).get(VERSION)
    return counts


def write_baseline(counts: dict[str, int], path: Path = BASELINE) -> None:
    """Write the counts for this version of Python, and leave those of the others."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[VERSION] = counts
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def complaints(baseline: dict[str, int], counts: dict[str, int]) -> list[str]:
    """Return what the guard finds wrong, naming each kind; empty if nothing is."""
    found = []
    for kind, now in counts.items():
        before = baseline.get(kind)
        if before is None:
            found.append(f"{kind!r} has no baseline yet")
        elif now > before * (1 + TOLERANCE):
            found.append(f"{kind!r} executes {now:,} instructions, {now / before - 1:.1%} more than {before:,}")
    found += [f"{kind!r} is in the baseline and was not counted" for kind in baseline if kind not in counts]
    return found


def table(baseline: dict[str, int], counts: dict[str, int]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| instructions of | baseline | now | ratio |"
    yield "|---|---|---|---|"
    for kind, now in counts.items():
        before = baseline.get(kind)
        yield (
            f"| {kind} | - | {now:,} | - |"
            if before is None
            else (f"| {kind} | {before:,} | {now:,} | {now / before:.3f} |")
        )


def judge(baseline: dict[str, int] | None, counts: dict[str, int]) -> int:
    """Print the comparison; return the exit status."""
    for line in table(baseline or {}, counts):
        print(line)
    if baseline is None:
        print(f"\nThere is no baseline for Python {VERSION}, so nothing is compared. To add one: {HOW_TO_ACCEPT}")
        return 0
    found = complaints(baseline, counts)
    if found:
        print("\nbench-check: " + "\nbench-check: ".join(found))
        print(f"If that is worth it, accept the counts and say why in the commit message: {HOW_TO_ACCEPT}")
        return 1
    if any(now < baseline[kind] * (1 - TOLERANCE) for kind, now in counts.items()):
        print(f"\nSome kinds have become cheaper. To keep it so, accept the new counts: {HOW_TO_ACCEPT}")
    return 0


def main() -> int:
    """Count and compare, or do what the options say."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--accept", action="store_true", help="write the counts into bench/baseline.json")
    parser.add_argument("--by-function", action="store_true", help="show the heaviest functions of each kind")
    parser.add_argument("--kind", default="", help="only the kinds that contain this text, for the functions")
    parser.add_argument("--most", type=int, default=40, help="functions to show for each kind (default: %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the counts by function in a file")
    parser.add_argument("--against", type=Path, metavar="FILE", help="show what has changed by function since --save")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets would differ from run to run
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    baseline = read_baseline()
    if baseline is None and not any((options.accept, options.by_function, options.save, options.against)):
        print(f"bench-check: no baseline for Python {VERSION}, so nothing is compared; to add one: {HOW_TO_ACCEPT}")
        return 0
    clock = FixedClock()
    clock.install()
    from function_profile import read_profiles, show_profiles, write_profiles  # noqa: PLC0415 - after the clock
    from instruction_kinds import count_all  # noqa: PLC0415 - see above

    found = count_all(clock)
    counts = {kind: count.instructions for kind, count in found.items()}
    if options.save is not None:
        write_profiles(options.save, found)
    if options.by_function or options.against is not None:
        show_profiles(
            {kind: count for kind, count in found.items() if options.kind in kind},
            None if options.against is None else read_profiles(options.against),
            options.most,
        )
        return 0
    if options.accept:
        write_baseline(counts)
        baseline = counts
    return judge(baseline, counts)


if __name__ == "__main__":
    sys.exit(main())
