"""The functions of plug-ins in a worker: called with the app, and again at the end."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from penstock import App
from penstock.worker.process.plugin_setups import call_ends, call_setups


def test_functions_are_called_with_the_app_and_one_that_fails_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does one that does not exist; the tracebacks are in the output, which is logged."""
    called: list[object] = []

    def fail(_app: App) -> None:
        raise SystemExit("no")

    def fail_at_the_end() -> None:
        raise RuntimeError("too late")

    module = ModuleType("setups_under_test")
    vars(module).update(
        fail=fail,
        plain=called.append,
        ending=lambda app: lambda: called.append("end"),
        failing_later=lambda app: fail_at_the_end,
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    app = App("tests")
    names = ("fail", "missing", "failing_later", "plain", "ending")
    ends = call_setups([f"setups_under_test:{name}" for name in names], app)
    assert called == [app]
    call_ends(ends)
    assert called == [app, "end"]
    shown = capsys.readouterr().err
    for message in ("SystemExit: no", "has no attribute 'missing'", "RuntimeError: too late"):
        assert message in shown
