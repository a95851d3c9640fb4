"""Run the benchmark: ``make bench``, or a part: ``make bench CASES="noop streams" PEERS="penstock mosec bare"``.

A run of all peers updates bench/results.json and writes docs/benchmarks.md, with the latest results of each case. A run
of some peers writes the same into build/bench/, so that the page always compares all of them. Needs wrk, the Debian
package of that name. Each peer is installed into an environment of its own in build/bench/ when it is first needed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys

from cases.generator import generator_figures
from cases.queued import allow_sockets
from contenders import CACHE, CONTENDERS, Contender
from harness import Case, Pace
from registry import CASES
from report import PAGE, RESULTS, write_page
from servers import adopt_orphans


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help=f"of {' '.join(CASES)}; default: all")
    parser.add_argument("--peers", default="", help=f"of {' '.join(CONTENDERS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement; default: 3")
    parser.add_argument("--quick", action="store_true", help="the first case in two minutes, with what is installed")
    parser.add_argument("--install", action="store_true", help="install the peers and stop")
    return parser.parse_args()


def chosen(names: str, known: dict[str, Case] | dict[str, Contender]) -> list[str]:
    """Return the names, or all known ones if there are none."""
    unknown = sorted(set(names.split()) - set(known))
    if unknown:
        raise SystemExit(f"unknown: {' '.join(unknown)}. Choose from: {' '.join(known)}")
    return names.split() or list(known)


def install(contenders: list[Contender], *, only_known: bool) -> list[Contender]:
    """Install what is missing, or leave it out; return what can run. A failed installation leaves a peer out."""
    found = []
    for contender in contenders:
        if only_known and not contender.is_installed():
            print(f"{contender.title} is left out: not installed (make bench installs it)", file=sys.stderr)
            continue
        try:
            contender.install()
            found.append(contender)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{contender.title} is left out: {error}", file=sys.stderr)
    return found


def is_needed(name: str, cases: list[str]) -> bool:
    """Return whether one of the cases compares this contender; a case that names none compares all general ones."""
    contender = CONTENDERS[name]
    compared = [CASES[case].contenders for case in cases]
    return any(contender.is_general if each is None else contender in each for each in compared)


def main() -> None:
    """Run the cases, saving after each, and write the page."""
    options = arguments()
    if shutil.which("wrk") is None:
        raise SystemExit("the benchmark needs wrk: apt-get install wrk")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    adopt_orphans()
    allow_sockets()
    cases = ["noop"] if options.quick else chosen(options.cases, CASES)
    wanted = [CONTENDERS[name] for name in chosen(options.peers, CONTENDERS) if options.peers or is_needed(name, cases)]
    contenders = install(wanted, only_known=options.quick)
    if options.install:
        return
    pace = Pace(rounds=2, seconds=1) if options.quick else Pace(rounds=options.rounds, seconds=options.seconds)
    is_complete = len(contenders) == len(wanted) and not (options.peers or options.quick)
    results_file, page = (RESULTS, PAGE) if is_complete else (CACHE / "results.json", CACHE / PAGE.name)
    results = json.loads(results_file.read_text(encoding="utf-8")) if is_complete and results_file.exists() else {}
    for name in cases:
        results[name] = CASES[name].run(contenders, pace)
        if name == "overload":
            results[name]["generator"] = generator_figures()
        results_file.parent.mkdir(parents=True, exist_ok=True)
        results_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        write_page(results, page)
    if not is_complete:
        print(page.read_text(encoding="utf-8"))
    print(f"written: {page}", file=sys.stderr)


if __name__ == "__main__":
    main()
