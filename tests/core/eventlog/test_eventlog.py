"""The operator's log: text and JSON lines that are complete and cannot be forged."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.config
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.eventlog import JsonFormatter, TextFormatter, configure_logging, log_event


@contextlib.contextmanager
def fresh_logging() -> Iterator[None]:
    """Remove all handlers, including pytest's, and restore the loggers afterwards."""
    root = logging.getLogger()
    logs = [root, *(log for log in root.manager.loggerDict.values() if isinstance(log, logging.Logger))]
    before = [(log, list(log.handlers), log.level, log.propagate, log.disabled) for log in logs]
    root.handlers.clear()
    yield
    logging.captureWarnings(False)
    for log, handlers, level, propagate, disabled in before:
        log.handlers[:] = handlers
        log.setLevel(level)
        log.propagate, log.disabled = propagate, disabled


def record(message: str = "all is well", event: str = "pool-ready", /, **fields: Any) -> logging.LogRecord:
    """Return a record as ``log_event`` creates it."""
    made = logging.makeLogRecord({"name": "penstock", "levelno": logging.INFO, "levelname": "INFO", "msg": message})
    made.event, made.fields = event, fields
    return made


def test_text_is_one_line_with_time_level_event_message_and_fields() -> None:
    """A text line has the time, the level, the event, the sentence, and the fields in brackets."""
    line = TextFormatter().format(record("pool default is ready", worker="default/0", pid=123, seconds=0.0412345678))
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO    pool-ready  pool default is ready"
        r"  \[worker=default/0 pid=123 seconds=0\.0412346\]",
        line,
    )


def test_text_without_fields_has_no_brackets() -> None:
    """An event without fields, or with None for all of them, ends after its sentence."""
    assert TextFormatter().format(record(worker=None)).endswith("  all is well")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ('a "quote"', r'"a \"quote\""'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ("x]", '"x]"'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("\x7f", r'"\x7f"'),
        ("\u2028", r'"\u2028"'),
        ("\udc80", r'"\udc80"'),
        ("é", "é"),
        (True, "yes"),
        (["a", 1], "\"['a', 1]\""),
    ],
)
def test_text_quotes_what_would_be_misread(value: object, shown: str) -> None:
    """Values with spaces, quotes, brackets, equal signs or control characters are quoted and escaped."""
    assert TextFormatter().format(record(value=value)).endswith(f"[value={shown}]")


@given(event=st.text(), message=st.text(), name=st.text(min_size=1), value=st.text())
def test_no_value_can_forge_a_line(event: str, message: str, name: str, value: str) -> None:
    """For any text, one event is one line of printable, encodable text, in both formats."""
    for formatter in (TextFormatter(), JsonFormatter()):
        line = formatter.format(record(message, event, **{name: value} if name != "traceback" else {}))
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        line.encode()


def test_tracebacks_follow_indented() -> None:
    """A traceback, given as a field or as exc_info, stands below its line, indented and escaped."""
    text = TextFormatter().format(record(traceback='Traceback:\n  File "a.py"\nValueError: \x1b[2J\n', worker="a/0"))
    head, *rest = text.split("\n")
    assert head.endswith("[worker=a/0]")
    assert rest == ["    Traceback:", '      File "a.py"', r"    ValueError: \x1b[2J"]


def test_a_traceback_cannot_forge_a_line() -> None:
    """Every line of a traceback is indented, so none looks like an event."""
    text = TextFormatter().format(record(traceback="07:00:00.000 INFO    forged  x\r\n07:00:00.000 INFO"))
    assert all(line.startswith("    ") for line in text.splitlines()[1:])


def test_json_has_everything_flat() -> None:
    """A JSON line holds time, level, event, message and the fields side by side."""
    made = record("ready", worker="a/0", pid=1, seconds=0.5, traceback="Traceback\nE", nothing=None)
    made.created = 1_700_000_000.1239
    assert json.loads(JsonFormatter().format(made)) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "event": "pool-ready",
        "message": "ready",
        "worker": "a/0",
        "pid": 1,
        "seconds": 0.5,
        "nothing": None,
        "traceback": "Traceback\nE",
    }


def test_json_fields_never_hide_the_four_fixed_names() -> None:
    """A field called like a fixed name gets an underscore."""
    line = json.loads(JsonFormatter().format(record("ready", level="high", time=1)))
    assert (line["level"], line["level_"], line["time_"]) == ("info", "high", 1)


def test_json_is_json_for_any_value() -> None:
    """Non-finite floats and unknown objects become strings: a strict parser reads every line."""
    made = record(worst=float("inf"), deep={"a": [float("nan"), {1}]}, kind=TextFormatter)
    line = json.loads(JsonFormatter().format(made), parse_constant=pytest.fail)
    assert line["worst"] == "inf"
    assert line["deep"] == {"a": ["nan", "{1}"]}


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_other_loggers_render_with_their_name_and_exception(formatter: logging.Formatter) -> None:
    """A record of another logger stands under that logger's name, its arguments filled in, its traceback shown."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    try:
        raise ValueError("broken")
    except ValueError:
        made = logging.getLogger("someone.else").makeRecord(
            "someone.else", logging.ERROR, __file__, 1, "cannot do %d things", (3,), sys.exc_info()
        )
    handler.handle(made)
    text = stream.getvalue()
    assert "someone.else" in text
    assert "cannot do 3 things" in text
    assert "ValueError: broken" in text


def test_a_message_with_wrong_arguments_is_shown_all_the_same() -> None:
    """A record whose arguments do not fit its message shows both."""
    made = logging.makeLogRecord({"name": "x", "msg": "%d of %d", "args": ("x",), "levelname": "INFO"})
    assert "%d of %d ('x',)" in TextFormatter().format(made)


@fresh_logging()
def test_log_event_does_not_format_the_message() -> None:
    """A percent sign in the message is not a format specifier."""
    stream = io.StringIO()
    configure_logging("text", stream)
    log_event(logging.INFO, "load", "100 % of %s", name="x")
    assert "100 % of %s  [name=x]" in stream.getvalue()


@fresh_logging()
def test_configure_shows_each_line_once_and_may_be_called_again() -> None:
    """After two calls the last one is in force, for Penstock's events and for all other logging."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging("text", first)
    configure_logging("json", second, level=logging.WARNING)
    log_event(logging.WARNING, "one", "ours")
    log_event(logging.INFO, "quiet", "below the level")
    logging.getLogger("theirs").warning("theirs")
    assert first.getvalue() == ""
    assert [json.loads(line)["event"] for line in second.getvalue().splitlines()] == ["one", "theirs"]


@fresh_logging()
def test_configure_leaves_a_root_logger_with_handlers_alone() -> None:
    """A user's own logging set-up keeps its root handlers and level; Penstock's events do not go there twice."""
    theirs, ours = io.StringIO(), io.StringIO()
    logging.basicConfig(stream=theirs, format="%(message)s", level=logging.ERROR)
    configure_logging("text", ours)
    log_event(logging.INFO, "one", "ours")
    logging.getLogger("user").error("theirs")
    assert theirs.getvalue() == "theirs\n"
    assert "theirs" not in ours.getvalue()


@fresh_logging()
def test_configure_again_restores_what_dictconfig_disabled() -> None:
    """The user's dictConfig disables every logger by default; configuring again brings the events back."""
    stream = io.StringIO()
    configure_logging("text", stream)
    logging.config.dictConfig({"version": 1})
    configure_logging("text", stream)
    log_event(logging.INFO, "one", "still here")
    assert "still here" in stream.getvalue()


def test_color_marks_the_level_only() -> None:
    """Color, when requested, surrounds the level and nothing else."""
    line = TextFormatter(color=True).format(record(value="\x1b[31m"))
    assert line.count("\x1b") == 2
    assert "\x1b[32mINFO   \x1b[0m" in line
