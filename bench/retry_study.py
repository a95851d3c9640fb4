"""Compare the retries of client libraries through outages, on the real plan and the real scheduler.

Writes every scenario into docs/retry-study.csv, the plot next to it, and the tables into docs/retry-study.md. Takes
about five minutes on one core. The same seeds produce the same numbers on every machine.
"""

from __future__ import annotations

import statistics

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from retry_grid import (
    CELLS,
    DOCS,
    GRID_SERVERS,
    LENGTH,
    LENGTHS,
    LOAD,
    LOADS,
    PAGE,
    SEEDS,
    TITLES,
    Key,
    Results,
    as_csv,
    from_csv,
    published,
    run,
)
from retry_policies import POLICIES
from retry_simulation import BEFORE, Cell, Simulation

PLOT = DOCS / "retry-study.svg"
COLOURS = {
    "none": "#8a8a8a",
    "openai": "#c1440e",
    "tenacity": "#b8860b",
    "tenacity-random": "#7d3c98",
    "ours": "#0b6e4f",
    "ours-once": "#3a6ea5",
}
DASHES = {"tenacity": (4, 2), "tenacity-random": (1, 1.5), "ours-once": (6, 2), "openai": (8, 1)}


def goodput_over_time(server: str, policy: str) -> tuple[list[float], list[float]]:
    """Return the goodput of the calls made in each two seconds, from the beginning of a slow outage on."""
    good: dict[int, list[bool]] = {}
    for seed in SEEDS:
        cell = Cell(policy=POLICIES[policy], server=server, outage_seconds=LENGTH, load=LOAD, seed=seed)
        simulation = Simulation(cell)
        simulation.run()
        for call in simulation.calls:
            if call.arrived < simulation.closes:
                good.setdefault(int(call.arrived // 2), []).append(call.is_good)
    places = sorted(good)
    return [2 * place + 1 - BEFORE for place in places], [100 * statistics.fmean(good[place]) for place in places]


def line(axes: Axes, policy: str, xs: list[float], ys: list[float]) -> None:
    """Draw the line of a policy."""
    axes.plot(
        xs,
        ys,
        color=COLOURS[policy],
        linewidth=2.6 if policy == "ours" else 1.5,
        dashes=DASHES.get(policy, ()),
        label=policy,
    )


def draw(results: Results) -> None:
    """Plot the goodput over the time, over the length of two kinds of outage, and over the load."""
    rcParams["svg.hashsalt"] = "penstock"  # the same numbers make the same file
    figure = Figure(figsize=(15, 6.8), layout="constrained")
    panels = figure.subplots(2, 4, sharey=True)
    for row, server in zip(panels, GRID_SERVERS, strict=True):
        for policy in POLICIES:
            line(row[0], policy, *goodput_over_time(server, policy))
            for axes, outage in ((row[1], "slow"), (row[2], "refused")):
                of_length = [results[Key("grid", server, outage, seconds, LOAD, policy)] for seconds in LENGTHS]
                line(axes, policy, list(LENGTHS), [100 * outcome.after for outcome in of_length])
            of_load = [results[Key("grid", server, "slow", LENGTH, load, policy)] for load in LOADS]
            line(row[3], policy, list(LOADS), [100 * outcome.after for outcome in of_load])
        row[0].axvspan(0, LENGTH, color="#dddddd")
        row[0].set_title(f"{TITLES[server]}: {LENGTH:g} s slow, load {LOAD:g}", fontsize=10)
        row[1].set_title(f"{TITLES[server]}: after it was slow, load {LOAD:g}", fontsize=10)
        row[2].set_title(f"{TITLES[server]}: after it was down, load {LOAD:g}", fontsize=10)
        row[3].set_title(f"{TITLES[server]}: after {LENGTH:g} s slow", fontsize=10)
        row[0].set_ylabel("answered in time, % of the calls")
        for axes in (row[1], row[2]):
            axes.set_xticks(LENGTHS, [f"{seconds:g}" for seconds in LENGTHS])
        row[3].set_xticks(LOADS, [f"{load:g}" for load in LOADS])
    panels[0][0].annotate("the others: 0", (48, 3), fontsize=8)
    labels = ("seconds from the beginning of the outage", "seconds of outage", "seconds of outage", "load")
    for axes, label in zip(panels[1], labels, strict=True):
        axes.set_xlabel(label)
    panels[1][1].legend(fontsize=8, loc="lower right")
    figure.suptitle("Before, during (grey) and after an outage: slow, ten times as slow as usual; down, no process")
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Run the study and publish it."""
    CELLS.write_text(as_csv(run()), encoding="utf-8")
    results = from_csv(CELLS.read_text(encoding="utf-8"))
    PAGE.write_text(published(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    draw(results)


if __name__ == "__main__":
    main()
