"""Plug-ins write what they have buffered before their process ends, whichever way it ends."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys
from penstock.hooks import before_exit
from penstock.hosting import flush_plugins

before_exit(lambda: print("first", flush=True))
before_exit(lambda: print("second", flush=True))
if sys.argv[1] == "fork" and not os.fork():
    sys.exit()
if sys.argv[1] == "abrupt":
    flush_plugins()
    os._exit(0)
if sys.argv[1] == "fork":
    os.wait()
"""


def output(how: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, how]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def test_the_last_one_comes_first_as_at_any_exit() -> None:
    """At the interpreter's own exit, and at those that skip it and say so."""
    assert output("orderly") == ["second", "first"]
    assert output("abrupt") == ["second", "first"]


def test_forks_do_not_flush_what_is_not_theirs() -> None:
    """Their buffers are copies, and so would be what they write."""
    assert output("fork") == ["second", "first"]
