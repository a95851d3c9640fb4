"""The cost of several HTTP processes: the CPU time of a no-op request in each kind of process, for 1, 2 and 3 of them.

Needs wrk. Prints a Markdown table after about a minute: medians over rounds, in which the servers take turns, each
started afresh. With one HTTP process the engine is in it.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cases.noop import NUMBER
from closed_loop import closed_loop
from contenders import PENSTOCK
from servers import Server, adopt_orphans, started

HTTP_WORKERS = (1, 2, 3)
ROUNDS = 5
CONNECTIONS = 64
WARM_UP_SECONDS, SECONDS = 1, 2
ROLES = ("HTTP", "engine", "worker", "other")


def parent_of(pid: int) -> int:
    """Return the process that started it; 0 if it has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return 0


def seconds_of(pid: int) -> float:
    """Return the CPU time of a process's threads."""
    total = 0
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text(encoding="utf-8").split()[0])
    return total / 1e9


def roles_of(server: Server) -> dict[int, str]:
    """Return the role of each process of a server, by its place in the tree."""
    master, pids = server.process.pid, server.pids()
    children = {pid for pid in pids if parent_of(pid) == master}
    zygotes = {pid for pid in pids if parent_of(pid) in children}
    engines = {parent_of(pid) for pid in zygotes} if len(children) > 1 else set()
    roles = dict.fromkeys(pids, "other")
    roles |= dict.fromkeys(children - engines, "HTTP") | dict.fromkeys(engines, "engine")
    return roles | {pid: "worker" for pid in pids if parent_of(pid) in zygotes}


def measure(http_workers: int) -> dict[str, float]:
    """Return the CPU time of a request in microseconds by role, and the requests per second."""
    variables = {"PENSTOCK_HTTP_WORKERS": str(http_workers)}
    with started(replace(PENSTOCK, environment=variables), "square") as server:
        closed_loop(server, NUMBER, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
        roles = roles_of(server)
        before = {pid: seconds_of(pid) for pid in roles}
        rate = closed_loop(server, NUMBER, connections=CONNECTIONS, seconds=SECONDS).rate
        spent: Counter[str] = Counter()
        for pid, role in roles.items():
            spent[role] += (seconds_of(pid) - before[pid]) / (rate * SECONDS) * 1e6  # type: ignore[assignment] # floats add up too
    return {**spent, "sum": sum(spent.values()), "rate": rate}


def main() -> None:
    """Measure, and print the table."""
    adopt_orphans()
    found: dict[int, list[dict[str, float]]] = defaultdict(list)
    for round_ in range(ROUNDS):
        for count in HTTP_WORKERS if round_ % 2 else HTTP_WORKERS[::-1]:
            found[count].append(measure(count))
            print(f"round {round_ + 1}: {count} HTTP", file=sys.stderr)
    print(f"| HTTP processes | requests/s | {' | '.join(ROLES)} | sum, us | over one |")
    print("|---|---|" + "---|" * (len(ROLES) + 2))
    for count, rounds in found.items():
        cells = [f"{statistics.median(each.get(role, 0.0) for each in rounds):.1f}" for role in (*ROLES, "sum")]
        ratios = [each["sum"] / one["sum"] for each, one in zip(rounds, found[1], strict=True)]
        rate = statistics.median(each["rate"] for each in rounds)
        print(f"| {count} | {rate:,.0f} | {' | '.join(cells)} | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
