"""The declaration of schedules."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import App, DeclarationError
from penstock.errors import PluginError
from penstock.hooks import Schedule, defaults, hookimpl
from penstock.hooks.registry import Registry


def app_with_report(**options: Any) -> App:
    app = App("shop", **options)

    @app.endpoint("/report/daily")
    def report(kind: str = "short", pages: int = 1) -> str:
        return kind * pages

    return app


def test_a_schedule_is_declared_with_all_that_it_needs() -> None:
    """Its input is the body of the request; its name is that of the endpoint, without slashes."""
    app = app_with_report()
    app.schedule("0 3 * * *", "report/daily", {"kind": "full"}, timezone="Europe/Berlin")
    assert app.schedules == [Schedule("report-daily", "0 3 * * *", "report/daily", b'{"kind":"full"}', "Europe/Berlin")]


def test_an_endpoint_may_be_named_by_its_handler() -> None:
    """As the decorator has returned it; several schedules of it have names of their own."""
    app = app_with_report()
    handler = app.endpoints[0].handler
    app.schedule("0 3 * * *", handler)
    app.schedule("0 4 * * MON", handler, {"kind": "full"}, name="weekly")
    assert [(schedule.name, schedule.timezone) for schedule in app.schedules] == [
        ("report-daily", "UTC"),
        ("weekly", "UTC"),
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"endpoint": "report/dayly"}, "did you mean report/daily"),
        ({"endpoint": print}, "'print', which is not declared"),
        ({"cron": "0 3 * *"}, "five fields"),
        ({"cron": "0 0 3 * * *"}, "five fields"),
        ({"cron": 3}, "five fields"),
        ({"timezone": "Europe/Bonn"}, "not a time zone"),
        ({"timezone": "../etc/passwd"}, "not a time zone"),
        ({"timezone": 1}, "not a time zone"),
        ({"name": "night/ly"}, "letters"),
        ({"name": "x" * 65}, "letters"),
        ({"input": {"pages": "many"}}, "the input does not fit endpoint 'report/daily'"),
        ({"input": object()}, "the input does not fit"),
    ],
)
def test_a_mistake_is_found_when_the_schedule_is_declared(arguments: dict[str, Any], reason: str) -> None:
    """The message names it, and nothing is declared."""
    app = app_with_report()
    with pytest.raises(DeclarationError, match=reason):
        app.schedule(**{"cron": "0 3 * * *", "endpoint": "report/daily", **arguments})
    assert app.schedules == []


def test_two_schedules_have_two_names() -> None:
    """The name stands for the schedule in the store."""
    app = app_with_report()
    app.schedule("0 3 * * *", "report/daily")
    with pytest.raises(DeclarationError, match="another name="):
        app.schedule("0 4 * * *", "report/daily")


def test_no_schedule_is_declared_once_the_app_is_served() -> None:
    """Like an endpoint."""
    app = app_with_report()
    app.freeze()
    with pytest.raises(DeclarationError, match="being served already"):
        app.schedule("0 3 * * *", "report/daily")


class Runs:
    """A plug-in that runs schedules."""

    name = "runs"
    runs_schedules = True

    @hookimpl
    def penstock_routes(self) -> None:
        return None


def test_an_app_with_schedules_needs_a_plugin_that_runs_them() -> None:
    """Without one the server does not start, nor does ``penstock check`` pass: nothing would call the endpoint."""
    app = app_with_report()
    Registry.load(app, {})
    app.schedule("0 3 * * *", "report/daily")
    with pytest.raises(PluginError, match=r"schedule 'report-daily'.*penstock\[jobs\]"):
        Registry.load(app, {"PENSTOCK_JOBS_ENABLED": "false"} if has_jobs_plugin() else {})


def test_a_plugin_says_that_it_runs_schedules() -> None:
    """By an attribute; one that is switched off does not count."""
    app = app_with_report(plugins=[Runs])
    app.schedule("0 3 * * *", "report/daily")
    Registry.load(app, {})
    assert not hasattr(defaults, "runs_schedules")


def has_jobs_plugin() -> bool:
    return any(plugin.name == "jobs" for plugin in Registry.survey(None, {}).plugins)
