"""``penstock jobs``: the commands, with a store in a real file that an engine has open too."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.hooks.registry import Registry
from penstock.job_store import ClaimedJob, JobEnding, JobQuery, NewJob, ProgressReport, StoredJob, StoreOwner
from penstock_jobs import JobsPlugin, PostgresJobStore, SqliteJobStore
from penstock_jobs.job_commands import jobs
from penstock_jobs.jobs_settings import JobsSettings
from tests.postgres import needs_postgres, running_postgres

OWNER = "engine-1"
APP = """
from penstock import App, Jobs

print("imported")
app = App(__name__, settings={"jobs": {"store": "sqlite:///jobs.db"}})

@app.endpoint("/square", jobs=Jobs())
def square(input: float) -> float:
    return input**2
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with no settings around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_JOBS_STORE", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("squares_by_command", None)


@pytest.fixture
def store(folder: Path) -> Iterator[SqliteJobStore]:
    """The store of an engine that runs, in the file ``jobs.db``."""
    store = SqliteJobStore(folder / "jobs.db")
    store.start(lambda _: None)
    store.register(StoreOwner(OWNER), now=time.time()).result()
    yield store
    store.close()


def run(*words: str, code: int = 0, answer: str | None = None) -> Result:
    result = CliRunner().invoke(jobs, [*words, "--store", "sqlite:///jobs.db"], input=answer)
    assert result.exit_code == code, result.output
    return result


def listed(*words: str) -> list[str]:
    return [json.loads(line)["id"] for line in run("list", "--json", *words).stdout.splitlines()]


def put(store: SqliteJobStore, id: str, endpoint: str = "square", **values: Any) -> StoredJob:
    new = NewJob(id=id, endpoint=endpoint, request=b'{"input": 4.0}', head=b"{}", **values)
    [stored] = store.put([new], now=time.time()).result()
    return stored.job


def claim(store: SqliteJobStore, endpoint: str = "square") -> ClaimedJob:
    [claimed] = store.claim(OWNER, endpoint, 1, now=time.time()).result()
    assert store.started(claimed.key, now=time.time()).result()
    return claimed


def end(store: SqliteJobStore, id: str, state: Any = "succeeded", *, ago: float = 0.0, **values: Any) -> None:
    put(store, id, **values)
    result = b"16.0" if state == "succeeded" else None
    ending = JobEnding(state=state, result=result, media_type="application/json")
    assert store.finish(claim(store).key, ending, now=time.time() - ago).result()


def test_the_command_is_offered_by_a_hook() -> None:
    """``penstock`` finds the command even where no store is set."""
    registry = Registry([JobsPlugin(JobsSettings())])
    assert [command.name for command in registry.cli_commands()] == ["jobs"]


# ---- the store


def test_a_file_that_is_not_there_is_not_created(folder: Path) -> None:
    """A misspelled address is an error, and not a new and empty store."""
    result = run("list", code=1)
    assert f"Error: there is no file {folder / 'jobs.db'}; a server creates it when it starts." in result.stderr
    assert list(folder.iterdir()) == []


def test_an_empty_file_stays_empty(folder: Path) -> None:
    """The commands create no tables: that is left to servers."""
    (folder / "jobs.db").touch()
    assert "has no tables of a job store" in run("list", code=1).stderr
    assert (folder / "jobs.db").stat().st_size == 0


def test_a_file_of_an_earlier_version_is_left_as_it_is(
    folder: Path, store: SqliteJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command must not change the tables below servers of an earlier version that use them."""
    monkeypatch.setattr("penstock_jobs.schema.MIGRATIONS", [lambda _: pytest.fail("migrated")])
    assert "start a server of this version first" in run("list", code=1).stderr


def test_it_needs_a_store() -> None:
    """Without one, the message names all the ways to set it."""
    result = CliRunner().invoke(jobs, ["list"])
    assert result.exit_code == 2
    assert "no job store is set; pass --store sqlite:///jobs.db, set PENSTOCK_JOBS_STORE, or name" in result.stderr


@pytest.mark.parametrize(
    ("address", "complaint"),
    [("jobs.db", "write sqlite:///jobs.db or postgresql://"), ("memory:", "is inside its server")],
)
def test_an_address_that_no_command_can_open_is_a_usage_error(address: str, complaint: str) -> None:
    """A plain path, and a store inside another process."""
    result = CliRunner().invoke(jobs, ["list", "--store", address])
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_the_environment_names_the_store(store: SqliteJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a server, ``PENSTOCK_JOBS_STORE`` does."""
    put(store, "a")
    monkeypatch.setenv("PENSTOCK_JOBS_STORE", "sqlite:///jobs.db")
    result = CliRunner().invoke(jobs, ["show", "a"])
    assert json.loads(result.stdout)["id"] == "a"


def test_the_settings_of_an_app_name_the_store(store: SqliteJobStore, folder: Path) -> None:
    """APP is imported for them, and what it prints stays out of stdout."""
    put(store, "a")
    (folder / "squares_by_command.py").write_text(APP)
    result = CliRunner().invoke(jobs, ["show", "a", "squares_by_command.py"])
    assert json.loads(result.stdout)["id"] == "a"
    assert result.stderr == "imported\n"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [(None, "squares_by_command"), ("1 / 0", "cannot be imported: ZeroDivisionError"), ("exit(3)", "SystemExit: 3")],
)
def test_an_app_that_cannot_be_imported_is_a_usage_error(folder: Path, source: str | None, complaint: str) -> None:
    """The message names the app and the cause."""
    if source is not None:
        (folder / "squares_by_command.py").write_text(source)
    result = CliRunner().invoke(jobs, ["list", "squares_by_command.py"])
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr


def test_a_command_is_no_owner(store: SqliteJobStore) -> None:
    """It claims nothing, so a server does not take it for an engine."""
    put(store, "a")
    run("list")
    assert [owner.id for owner in store.counts().result().owners] == [OWNER]


# ---- list and show


def test_list_prints_a_table(store: SqliteJobStore) -> None:
    """Newest first, with the progress of running jobs and the principals."""
    put(store, "a", principal="alice\x1b[2J")
    assert store.report(claim(store).key, [ProgressReport(3, 10)], now=time.time()).result()
    put(store, "b", endpoint="count")
    head, *rows = [line.split() for line in run("list").stdout.splitlines()]
    assert head == ["ID", "ENDPOINT", "STATE", "AGE", "PROGRESS", "PRINCIPAL"]
    shown = {row[0]: [*row[1:3], *row[4:]] for row in rows}
    assert shown == {
        "a": ["square", "running", "3/10", "alice?[2J"],
        "b": ["count", "queued", "-", "-"],
    }


def test_list_filters(store: SqliteJobStore) -> None:
    """By state as callers see it, endpoint and group; several states may be named."""
    end(store, "done", group="night")
    put(store, "claimed")
    store.claim(OWNER, "square", 1, now=time.time()).result()
    put(store, "later", not_before=time.time() + 3600)
    put(store, "other", endpoint="count")
    assert set(listed()) == {"done", "claimed", "later", "other"}
    assert set(listed("--state", "queued")) == {"claimed", "other"}
    assert set(listed("--state", "scheduled", "--state", "succeeded")) == {"later", "done"}
    assert listed("--endpoint", "count") == ["other"]
    assert listed("--group", "night") == ["done"]


def test_list_says_when_there_are_more(store: SqliteJobStore) -> None:
    """A list that is cut short must not be taken for all there is."""
    for number in range(3):
        put(store, f"job-{number}")
    result = run("list", "--limit", "2")
    assert len(result.stdout.splitlines()) == 3
    assert "There are more than 2 jobs" in result.stderr
    assert run("list", "--limit", "3").stderr == ""


def test_list_goes_on_over_pages_that_show_nothing(store: SqliteJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's pages may hold only jobs of which another state is shown."""
    monkeypatch.setattr("penstock_jobs.job_commands.MOST_LISTED", 2)
    put(store, "wanted")
    for number in range(5):
        put(store, f"job-{number}", not_before=time.time() + 3600)
    assert listed("--state", "queued") == ["wanted"]


def test_show_prints_the_document(store: SqliteJobStore) -> None:
    """As over HTTP, with the number of events."""
    end(store, "a", metadata={"order": "17"})
    document = json.loads(run("show", "a").stdout)
    assert (document["state"], document["result"], document["metadata"]) == ("succeeded", 16.0, {"order": "17"})
    assert document["events"] == 3


def test_show_prints_the_error(store: SqliteJobStore) -> None:
    """The problem document of a job that has failed."""
    end(store, "a", "failed")
    assert json.loads(run("show", "a").stdout)["error"]["status"] == 500


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_a_job_that_is_not_there(store: SqliteJobStore, command: str) -> None:
    """Exit code 1, and the id in the message."""
    assert "Error: there is no job 'a'." in run(command, "a", code=1).stderr


# ---- cancel and retry


def test_cancel_a_queued_job(store: SqliteJobStore) -> None:
    """It is cancelled at once; to cancel it again does no harm."""
    put(store, "a")
    assert run("cancel", "a").stderr == run("cancel", "a").stderr == "Job a is cancelled.\n"
    assert store.get("a").result().state == "cancelled"


def test_cancel_waits_for_the_end_of_a_running_job(store: SqliteJobStore) -> None:
    """The engine that runs it sees the wish in the store, and the command sees the end."""
    put(store, "a")
    key = claim(store).key
    is_over = threading.Event()

    def engine() -> None:
        while not is_over.wait(0.01) and not store.cancels(OWNER).result():
            pass
        store.finish(key, JobEnding(state="cancelled", code="cancelled"), now=time.time()).result()

    thread = threading.Thread(target=engine)
    thread.start()
    try:
        assert run("cancel", "a", "--wait", "60").stderr == "Job a is cancelled.\n"
    finally:
        is_over.set()
        thread.join()


def test_cancel_reports_a_job_that_goes_on(store: SqliteJobStore) -> None:
    """After the wait it is an error; without one there is nothing to report yet."""
    put(store, "a")
    claim(store)
    assert "job a still runs after 0.1 s" in run("cancel", "a", "--wait", "0.1", code=1).stderr
    assert "Job a runs; its server has been asked to stop it." in run("cancel", "a", "--wait", "0").stderr
    assert "running (cancelling)" in run("list").stdout


def test_a_job_that_has_ended_cannot_be_cancelled(store: SqliteJobStore) -> None:
    """The message has the state."""
    end(store, "a")
    assert "job a had ended before: succeeded." in run("cancel", "a", code=1).stderr


def test_retry_stores_the_request_anew(store: SqliteJobStore) -> None:
    """With the options of the old job, under a new id, which is printed."""
    end(store, "a", "failed", principal="alice", group="night", metadata={"order": "17"}, result_ttl=60.0)
    new_id = run("retry", "a").stdout.strip()
    job, request = store.get(new_id).result(), store.request(new_id).result()
    assert (job.state, job.retry_of, job.principal, job.group) == ("queued", "a", "alice", "night")
    assert job.result_ttl == 60.0
    assert (request.body, request.head, request.metadata) == (b'{"input": 4.0}', b"{}", {"order": "17"})


def test_a_job_that_has_not_ended_cannot_be_repeated(store: SqliteJobStore) -> None:
    """It would run twice."""
    put(store, "a")
    assert "job 'a' has not ended" in run("retry", "a", code=1).stderr


def test_a_job_whose_request_was_removed_cannot_be_repeated(store: SqliteJobStore) -> None:
    """After ``result_ttl``, there is nothing left to run."""
    end(store, "a", "failed", ago=7200, result_ttl=60.0)
    assert store.retain(now=time.time()).result() == 1
    assert "the request of job 'a' has been removed" in run("retry", "a", code=1).stderr


# ---- purge


def test_purge_removes_final_jobs_of_an_age(store: SqliteJobStore) -> None:
    """Others stay, whatever their age: nothing that has not ended is ever removed."""
    end(store, "old", "failed", ago=8 * 86400)
    end(store, "old-success", ago=8 * 86400)
    end(store, "new", "failed")
    put(store, "queued")
    assert run("purge", "--older-than", "7d", "--state", "failed", "--yes").stderr == "Removed 1 job.\n"
    assert set(listed()) == {"old-success", "new", "queued"}
    assert run("purge", "--older-than", "0s", "--yes").stderr == "Removed 2 jobs.\n"
    assert listed() == ["queued"]


def test_purge_asks(store: SqliteJobStore) -> None:
    """Without a yes, nothing is removed; nor is it at the end of the input."""
    end(store, "a")
    words = ("purge", "--older-than", "0s")
    for answer in ("n\n", ""):
        assert "Remove 1 job? [y/N]" in run(*words, code=1, answer=answer).stderr
    assert listed() == ["a"]
    run(*words, answer="y\n")
    assert listed() == []


def test_purge_removes_any_number(store: SqliteJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """In portions, so that no transaction keeps engines waiting."""
    monkeypatch.setattr("penstock_jobs.command_store.DELETED_TOGETHER", 2)
    for number in range(5):
        end(store, f"job-{number}")
    assert run("purge", "--older-than", "0s", "--yes").stderr == "Removed 5 jobs.\n"
    assert store.list_jobs(JobQuery()).result().jobs == ()


@pytest.mark.parametrize("words", [("--older-than", "7"), ("--older-than", "1d", "--state", "queued"), ()])
def test_purge_rejects_what_it_cannot_use(store: SqliteJobStore, words: tuple[str, ...]) -> None:
    """A number without a unit, the state of a job that has not ended, and no age at all."""
    run("purge", *words, code=2)


def test_a_file_of_another_program_is_refused(folder: Path) -> None:
    """With exit code 1, and unchanged."""
    with sqlite3.connect(folder / "jobs.db") as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    before = (folder / "jobs.db").read_bytes()
    assert "is a file of another program" in run("list", code=1).stderr
    assert (folder / "jobs.db").read_bytes() == before


@needs_postgres
def test_the_commands_work_in_postgresql() -> None:
    """Beside an engine; a database without the tables of a store stays as it is."""

    def command(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(jobs, [*words, "--store", url])
        assert result.exit_code == code, result.output
        return result

    with running_postgres() as server:
        url = server.url(server.new_database())
        for _ in range(2):
            assert "has no tables of a job store" in command("list", code=1).stderr
        store = PostgresJobStore(url)
        store.start(lambda _: None)
        try:
            store.put([NewJob(id="a", endpoint="square")], now=time.time()).result()
            assert command("cancel", "a").stderr == "Job a is cancelled.\n"
            new_id = command("retry", "a").stdout.strip()
            assert json.loads(command("list", "--json", "--state", "queued").stdout)["id"] == new_id
            assert command("purge", "--older-than", "0s", "--yes").stderr == "Removed 1 job.\n"
        finally:
            store.close()
