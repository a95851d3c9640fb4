"""The statements of a job store. Each is built once; the same ones run on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from penstock.job_store import AGEING_SECONDS
from penstock_jobs.tables import READY, bodies, deliveries, events, jobs, owners, schedules, served, tallies

FIXED: Final = (
    "id", "endpoint", "principal", "priority", "created_at", "digest", "idempotency_key", "group", "request_id",
    "retry_of", "webhook", "timeout", "result_ttl", "record_ttl", "on_lost", "max_claims", "start_by",
)  # fmt: skip
"""The columns of ``jobs`` that never change."""

# The condition of a partial index must be there as text: the planner of SQLite does not look into parameters.
_QUEUED: Final[ColumnElement[Any]] = literal_column("'queued'")
_is_queued: Final = jobs.c.state == _QUEUED


def _waits_no_longer(column: str, condition: str) -> Select[Any]:
    """Return the query for jobs with an instant that has come, the earliest first."""
    instant = jobs.c[column]
    chosen = select(jobs).where(text(condition), instant <= bindparam("now"))
    ordered = chosen.order_by(instant, jobs.c.id).limit(bindparam("limit"))
    return ordered.with_for_update(skip_locked=True)


# ---- one job

PEEK: Final = select(jobs).where(jobs.c.id == bindparam("job"))
FIND: Final = PEEK.with_for_update()
FIND_KEY: Final = (
    select(jobs)
    .where(jobs.c.principal == bindparam("principal"), jobs.c.idempotency_key == bindparam("key"))
    .where(jobs.c.idempotency_key.is_not(None))
    .with_for_update()
)
UPDATE_JOB: Final = (
    update(jobs)
    .where(jobs.c.id == bindparam("old_id"), jobs.c.claim == bindparam("old_claim"))
    .where(jobs.c.state == bindparam("old_state"))
    .values({column.name: bindparam(f"new_{column.name}") for column in jobs.c if column.name not in FIXED})
)
INSERT_BODIES: Final = insert(bodies)
INSERT_EVENTS: Final = insert(events)
INSERT_DELIVERIES: Final = insert(deliveries)
WRITE_RESULT: Final = (
    update(bodies)
    .where(bodies.c.job == bindparam("of_job"))
    .values(
        result=bindparam("new_result"),
        result_type=bindparam("new_type"),
        result_status=bindparam("new_status"),
        result_headers=bindparam("new_headers"),
    )
)
_these: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
REQUESTS: Final = select(bodies.c.job, bodies.c.request, bodies.c.media_type, bodies.c.head, bodies.c.metadata).where(
    bodies.c.job.in_(_these), bodies.c.request.is_not(None)
)
METADATA: Final = select(bodies.c.job, bodies.c.metadata).where(bodies.c.job.in_(_these))
RESULT: Final = select(bodies.c.result, bodies.c.result_type, bodies.c.result_status, bodies.c.result_headers).where(
    bodies.c.job == bindparam("job"), bodies.c.result.is_not(None)
)
EVENTS: Final = (
    select(events)
    .where(events.c.job == bindparam("job"), events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("limit"))
)
ERASE_BODIES: Final = update(bodies).where(bodies.c.job.in_(_these)).values(request=None, head=None, result=None)
SIZES: Final = select(jobs.c.endpoint, jobs.c.state, jobs.c.size_bytes).where(jobs.c.id.in_(_these))
ERASE: Final = (
    delete(jobs).where(jobs.c.id.in_(_these)),
    delete(bodies).where(bodies.c.job.in_(_these)),
    delete(events).where(events.c.job.in_(_these)),
    delete(deliveries).where(deliveries.c.job.in_(_these)),
)

# ---- many jobs


def _head() -> Select[Any]:
    """Return the query for the first jobs of a queue."""
    return (
        select(jobs.c.id, jobs.c.principal, jobs.c.turn)
        .where(text(READY), jobs.c.endpoint == bindparam("endpoint"))
        .where(or_(jobs.c.start_by.is_(None), jobs.c.start_by > bindparam("now")))
        .order_by(jobs.c.turn, jobs.c.id)
        .limit(bindparam("window"))
    )


def _in_turn() -> Select[Any]:
    """Return the query for the jobs to claim of a queue with a single principal."""
    chosen = select(jobs).where(text(READY), jobs.c.endpoint == bindparam("endpoint"))
    may_start = chosen.where(or_(jobs.c.start_by.is_(None), jobs.c.start_by > bindparam("now")))
    ordered = may_start.order_by(jobs.c.turn, jobs.c.id).limit(bindparam("number"))
    return ordered.with_for_update(skip_locked=True)


def _level(turn: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the level of a job, which is its priority after ageing: see ``level_limits``."""
    return case(*((turn <= bindparam(f"level_{n}"), literal_column(str(n))) for n in range(3)), else_=3)


def _last_served(principal: ColumnElement[Any]) -> tuple[ColumnElement[bool], ColumnElement[Any]]:
    """Return the condition of a join with ``served``, and the instant at which the principal was last served."""
    is_same = and_(served.c.endpoint == bindparam("endpoint"), served.c.principal == principal)
    return is_same, func.coalesce(served.c.at, 0.0).label("last")


def _lines() -> Select[Any]:
    """Return the query for the principals of a window, with the turn of the first job of each, in the order of claims.

    If one job is to be claimed, it is one of these, and a minimum costs a fraction of numbering the whole window.
    """
    head = _head().cte("head")
    first_turn = func.min(head.c.turn).label("first_turn")
    firsts = select(head.c.principal, first_turn).group_by(head.c.principal).cte("firsts")
    is_same, last = _last_served(firsts.c.principal)
    level = _level(firsts.c.first_turn).label("level")
    found = select(level, last, firsts.c.first_turn, firsts.c.principal).outerjoin(served, is_same)
    return found.order_by(level, last, firsts.c.first_turn).limit(bindparam("candidates"))


def _ready() -> Select[Any]:
    """Return the query for the jobs to claim.

    ``head``: the first ones by turn. ``ranked``: their levels, and their numbers within their principals. ``chosen``:
    the first of these, and a few more than wanted. Then those are locked, without any that is locked already. The limit
    stands beside the lock, and not in a subquery of an UPDATE, which a nested loop would run once for each row.
    """
    head = _head().cte("head")
    level = _level(head.c.turn)
    nth = func.row_number().over(partition_by=(level, head.c.principal), order_by=(head.c.turn, head.c.id))
    ranked = select(head, level.label("level"), nth.label("nth")).cte("ranked")
    is_same, last = _last_served(ranked.c.principal)
    chosen = (
        select(ranked.c.id, ranked.c.turn, ranked.c.level, ranked.c.nth, last)
        .outerjoin(served, is_same)
        .order_by(ranked.c.level, ranked.c.nth, last, ranked.c.turn, ranked.c.id)
        .limit(bindparam("candidates"))
        .cte("chosen")
    )
    return (
        select(jobs)
        .join(chosen, jobs.c.id == chosen.c.id)
        .where(_is_queued)
        .order_by(chosen.c.level, chosen.c.nth, chosen.c.last, chosen.c.turn, chosen.c.id)
        .limit(bindparam("number"))
        .with_for_update(of=jobs, skip_locked=True)
    )


def level_limits(now: float) -> dict[str, float]:
    """Return the parameters that decide the level of a job: its priority after ageing."""
    return {f"level_{n}": now + n * AGEING_SECONDS for n in range(3)}


CLAIMABLE: Final = _ready()
IN_TURN: Final = _in_turn()
LINES: Final = _lines()
FIRST_OF_LINE: Final = (
    select(jobs)
    .where(text(READY), jobs.c.endpoint == bindparam("endpoint"), jobs.c.turn == bindparam("turn"))
    .where(jobs.c.principal.in_(bindparam("principals", expanding=True)))
    .where(or_(jobs.c.start_by.is_(None), jobs.c.start_by > bindparam("now")))
    .order_by(jobs.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_window: Final = _head().subquery()
EXTREMES: Final = select(func.min(_window.c.principal), func.max(_window.c.principal))
"""Two principals of a window, which are the same if there is only one."""
DUE: Final = _waits_no_longer("not_before", "state = 'queued' AND turn IS NULL")
LATE: Final = _waits_no_longer("start_by", "state = 'queued' AND start_by IS NOT NULL")
BODIES_OVERDUE: Final = _waits_no_longer("bodies_until", "bodies_until IS NOT NULL")
RECORDS_OVERDUE: Final = _waits_no_longer("delete_after", "delete_after IS NOT NULL")
_of_owner: Final = select(jobs).where(jobs.c.owner == bindparam("owner"), jobs.c.owner.is_not(None))
HELD: Final = _of_owner.order_by(jobs.c.id).with_for_update()
LOCK_ENDPOINT: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('penstock.' || :endpoint, 0))")
# The index of running jobs is the one by owner, and it is short: there are no more of them than slots.
COUNT_RUNNING: Final = (
    select(func.count())
    .select_from(jobs)
    .where(jobs.c.owner.is_not(None), jobs.c.state == "running", jobs.c.endpoint == bindparam("endpoint"))
)
CANCELS: Final = _of_owner.where(jobs.c.cancel_requested).order_by(jobs.c.id)
_earlier: Final = (
    select(literal_column("1"))
    .where(text(READY), jobs.c.endpoint == bindparam("endpoint"))
    .where(or_(jobs.c.turn < bindparam("turn"), and_(jobs.c.turn == bindparam("turn"), jobs.c.id < bindparam("job"))))
    .limit(bindparam("limit"))
    .subquery()
)
AHEAD: Final = select(func.count()).select_from(_earlier)
HEAD: Final = (
    select(jobs.c.created_at)
    .where(text(READY), jobs.c.endpoint == bindparam("endpoint"))
    .order_by(jobs.c.turn, jobs.c.id)
    .limit(1)
)


def listing(conditions: list[ColumnElement[bool]], after: tuple[float, str] | None, limit: int) -> Select[Any]:
    """Return the query for a page of jobs, newest first."""
    found = select(jobs).where(*conditions).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    return found if after is None else found.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(*after))


# ---- owners, deliveries, schedules and counts

OWNER: Final = select(owners).where(owners.c.id == bindparam("owner")).with_for_update(read=True)
OWNERS: Final = select(owners).order_by(owners.c.id)
REMOVE_OWNER: Final = delete(owners).where(owners.c.id == bindparam("owner"), owners.c.beat == bindparam("last_beat"))
READY_DELIVERIES: Final = (
    select(deliveries)
    .where(text("state = 'waiting'"), deliveries.c.next_at <= bindparam("now"))
    .order_by(deliveries.c.next_at, deliveries.c.id)
    .limit(bindparam("number"))
    .with_for_update(skip_locked=True)
)
FIND_DELIVERY: Final = select(deliveries).where(deliveries.c.id == bindparam("delivery")).with_for_update()
SENDING: Final = (
    select(deliveries)
    .where(deliveries.c.owner == bindparam("sender"), deliveries.c.owner.is_not(None))
    .order_by(deliveries.c.id)
    .with_for_update()
)
DELIVERIES: Final = select(deliveries).where(deliveries.c.job == bindparam("job")).order_by(deliveries.c.seq)
UPDATE_DELIVERY: Final = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("old_id"))
    .values({
        name: bindparam(f"new_{name}") for name in ("next_at", "state", "owner", "claim", "sent", "status", "error")
    })
)  # fmt: skip
DELIVERY_COUNTS: Final = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
FORGET_SERVED: Final = delete(served).where(served.c.at < bindparam("before"))
TALLIES: Final = select(
    tallies.c.endpoint, tallies.c.state, func.sum(tallies.c.jobs), func.sum(tallies.c.size_bytes)
).group_by(tallies.c.endpoint, tallies.c.state)


class Upserts:
    """The insertions that say what to do with a row that is there: the one construct that each dialect has of its own.

    Parameters
    ----------
    dialect:
        ``sqlite`` or ``postgresql``.
    """

    def __init__(self, dialect: str) -> None:
        # Inline: without a RETURNING of SQLAlchemy's own, so that the number of rows is known.
        new: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect]
        self.job = new(jobs).inline().on_conflict_do_nothing()
        owner = new(owners).inline()
        self.owner = owner.on_conflict_do_update(
            index_elements=[owners.c.id],
            set_={name: owner.excluded[name] for name in ("host", "pid", "registered_at", "beat")},
        )
        serving = new(served).inline()
        self.served = serving.on_conflict_do_update(
            index_elements=[served.c.endpoint, served.c.principal],
            set_={"at": serving.excluded.at},
            where=served.c.at < serving.excluded.at,
        )
        schedule = new(schedules).inline()
        self.schedule = schedule.on_conflict_do_update(
            index_elements=[schedules.c.name],
            set_={"last_nominal": schedule.excluded.last_nominal},
            where=schedules.c.last_nominal < schedule.excluded.last_nominal,
        )
        tally = new(tallies).inline()
        self.tally = tally.on_conflict_do_update(
            index_elements=[tallies.c.endpoint, tallies.c.state, tallies.c.slot],
            set_={name: tallies.c[name] + tally.excluded[name] for name in ("jobs", "size_bytes")},
        )
