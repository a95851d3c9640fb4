"""The command ``penstock jobs``, which lists, shows, cancels, repeats and removes background jobs in their store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import islice
from typing import Any, Final

import click
import msgspec

from penstock.errors import DeclarationError, PenstockError, PluginError
from penstock.job_store import FINAL
from penstock_jobs.command_store import CommandStore, NoStore, opened
from penstock_jobs.job_queries import MOST_LISTED, STATES, ListQuery
from penstock_jobs.job_tables import table_of

CANCEL_SECONDS: Final = 10.0
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION: Final = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_USAGE: Final = (NoStore, PluginError, DeclarationError)


class Age(click.ParamType[float]):
    """A duration, such as 7d, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; click reports a value that is not a duration."""
        match = _DURATION.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not a duration, such as 7d, 12h or 0s.", param, ctx)
        return float(int(match[1]) * _UNIT_SECONDS[match[2]])


def _with_store(function: Callable[..., None]) -> Callable[..., None]:
    """Add APP and ``--store`` to a command, whose function gets the open store. To be applied first."""

    @click.argument("app", required=False)
    @click.option(
        "--store",
        "address",
        metavar="ADDRESS",
        help="The store, as in the setting store.  [default: PENSTOCK_JOBS_STORE, or the settings of APP]",
    )
    @wraps(function)
    def command(*, app: str | None, address: str | None, **options: Any) -> None:
        try:
            with opened(app, address) as store:
                function(store, **options)
        except _USAGE as error:
            raise click.UsageError(f"{error}.") from None
        except PenstockError as error:
            raise click.ClickException(f"{error}.") from None

    return command


_job_argument = click.argument("id")
_endpoint_option = click.option("--endpoint", help="Only jobs of this endpoint.")
_group_option = click.option("--group", help="Only jobs of this group.")


@click.group()
def jobs() -> None:
    """List, show, cancel, repeat and remove background jobs.

    The commands open the store itself, beside the servers that use it; no server has to run. APP is the app whose
    settings name the store, unless --store or PENSTOCK_JOBS_STORE does.
    """


@jobs.command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only jobs in this state; repeatable."
)
@_endpoint_option
@_group_option
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most jobs that are listed."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
@_with_store
def list_(
    store: CommandStore, states: Sequence[str], endpoint: str | None, group: str | None, limit: int, *, as_json: bool
) -> None:
    """List jobs, newest first."""
    now = time.time()
    found = list(islice(store.matching(_query(states, endpoint, group), now), limit + 1))
    shown = found[:limit]
    if as_json:
        for document in store.documents(shown, now):
            click.echo(msgspec.json.encode(document))
    else:
        click.echo("\n".join(table_of(shown, now)))
    if len(found) > limit:
        click.echo(f"There are more than {limit} jobs; see more with --limit.", err=True)


@jobs.command()
@_job_argument
@_with_store
def show(store: CommandStore, id: str) -> None:
    """Print the document of job ID as JSON, with its error, a short result, and the number of its events."""
    click.echo(msgspec.json.format(msgspec.json.encode(store.document(id, time.time()))))


@jobs.command()
@_job_argument
@click.option(
    "--wait",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=CANCEL_SECONDS,
    show_default=True,
    help="The longest wait for the end of a running job.",
)
@_with_store
def cancel(store: CommandStore, id: str, seconds: float) -> None:
    """Cancel job ID: at once if it is queued; a running one is interrupted by its server."""
    job, had_ended = store.cancel(id, seconds)
    if job.state == "cancelled":
        click.echo(f"Job {id} is cancelled.", err=True)
    elif job.is_final:
        when = "had ended before" if had_ended else "ended first"
        raise click.ClickException(f"job {id} {when}: {job.state}.")
    elif seconds > 0:
        raise click.ClickException(f"job {id} still runs after {seconds:g} s; its server has been asked to stop it.")
    else:
        click.echo(f"Job {id} runs; its server has been asked to stop it.", err=True)


@jobs.command()
@_job_argument
@_with_store
def retry(store: CommandStore, id: str) -> None:
    """Store a new job with the request of job ID, which has ended, and print its id."""
    click.echo(store.retry(id).id)


@jobs.command()
@click.option("--older-than", "age", type=Age(), required=True, help="Only jobs that ended so long ago: 7d, 12h, 0s.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state for state in STATES if state in FINAL]),
    help="Only jobs that ended in this state; repeatable.",
)
@_endpoint_option
@_group_option
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@_with_store
def purge(
    store: CommandStore, age: float, states: Sequence[str], endpoint: str | None, group: str | None, *, is_sure: bool
) -> None:
    """Remove jobs that have ended, with their results and with webhooks that were not sent yet."""
    now = time.time()
    found = [
        job.id
        for job in store.matching(_query(states or sorted(FINAL), endpoint, group), now)
        if job.finished_at is not None and job.finished_at <= now - age
    ]
    if found and not is_sure:
        click.confirm(f"Remove {_counted(len(found))}?", abort=True, err=True)
    click.echo(f"Removed {_counted(store.delete(found))}.", err=True)


def _query(states: Sequence[str], endpoint: str | None, group: str | None) -> ListQuery:
    found = {"state": list(states), "limit": [str(MOST_LISTED)]}
    found |= {name: [value] for name, value in (("endpoint", endpoint), ("group", group)) if value is not None}
    return ListQuery(found, None)


def _counted(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
