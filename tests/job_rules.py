"""The rules of a store of background jobs, as queries that find what breaks them, for SQLite and PostgreSQL alike."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.job_store import FINAL

FINALS = f"({', '.join(map(repr, sorted(FINAL)))})"


def _rules(text: str) -> dict[str, str]:
    """Return the rules in a dialect, in which ``text`` makes text of a column of JSON."""
    data = text.format("data")
    ends = " OR ".join(f"""{data} LIKE '{{"state":"{state}"%'""" for state in sorted(FINAL))
    webhook = text.format("webhook")
    return {
        "a running job has an owner, and no other job has": """
            SELECT id FROM penstock_jobs WHERE (state = 'running') != (owner IS NOT NULL)
            OR (owner IS NOT NULL AND owner NOT IN (SELECT id FROM penstock_owners))""",
        "events have no gap": """
            SELECT id FROM penstock_jobs LEFT JOIN penstock_job_events ON job = id
            GROUP BY id HAVING count(seq) != events OR max(seq) != events OR min(seq) != 1""",
        "a job has one end if it is final, and none otherwise": f"""
            SELECT id FROM penstock_jobs LEFT JOIN penstock_job_events ON job = id AND kind = 'state' AND ({ends})
            GROUP BY id HAVING count(seq) != CASE WHEN state IN {FINALS} THEN 1 ELSE 0 END""",
        "the end of a job is its last event": f"""
            SELECT id FROM penstock_jobs JOIN penstock_job_events ON job = id AND seq = events
            WHERE state IN {FINALS} AND {data} NOT LIKE '%"state":"' || state || '"%'""",
        "a job that has succeeded has a result": """
            SELECT id FROM penstock_jobs LEFT JOIN penstock_job_bodies ON job = id
            WHERE state = 'succeeded' AND result IS NULL AND bodies_until IS NOT NULL""",
        "an end that a webhook wants has a delivery": f"""
            SELECT id FROM penstock_jobs WHERE state IN {FINALS} AND webhook IS NOT NULL
            AND {webhook} LIKE '%"' || state || '"%'
            AND state NOT IN (SELECT event FROM penstock_deliveries WHERE job = penstock_jobs.id)""",
        "a delivery on its way has an owner, and no other one has": """
            SELECT id FROM penstock_deliveries WHERE (state = 'sending') != (owner IS NOT NULL)
            OR (owner IS NOT NULL AND owner NOT IN (SELECT id FROM penstock_owners))""",
        "the tallies are those of the rows": """
            SELECT endpoint, state, sum(jobs), sum(size_bytes) FROM penstock_tallies GROUP BY 1, 2 HAVING sum(jobs) != 0
            EXCEPT SELECT endpoint, state, count(*), sum(size_bytes) FROM penstock_jobs GROUP BY 1, 2""",
    }


def broken_rules(path: Path) -> dict[str, list[Any]]:
    """Return the rules that a file of SQLite breaks, with the rows."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        return _broken(_rules("CAST({} AS TEXT)"), lambda query: connection.execute(query).fetchall())


def broken_postgres_rules(execute: Callable[[str], list[Any]]) -> dict[str, list[Any]]:
    """Return the rules that a database of PostgreSQL breaks, with the rows."""
    return _broken(_rules("convert_from({}, 'UTF8')"), execute)


def _broken(rules: dict[str, str], execute: Callable[[str], list[Any]]) -> dict[str, list[Any]]:
    return {rule: found for rule, query in rules.items() if (found := execute(query))}
