from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import penstock
from penstock.engine.processes.crash_traces import new_crash_filter

OURS = f"{Path(penstock.__file__).parent}{os.sep}"
CRASH = f"""\
loading
Fatal Python error: Segmentation fault

Thread 0x00007f2d71d546c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "{OURS}worker/program.py", line 183 in _run_thread
  File "/site-packages/trio/_core/_run.py", line 2532 in run
  File "{OURS}worker/process/worker_main.py", line 98 in run
  ...

Current thread 0x00007f2d73f7db80 [MainThread] (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/srv/app.py", line 9 in crash
  File "{OURS}worker/attempts.py", line 51 in start
  File "<frozen runpy>", line 198 in _run_module_as_main

Extension modules: msgspec._core (total: 1)
"""
SHOWN = """\
loading
Fatal Python error: Segmentation fault

Thread 0x00007f2d71d546c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait

Current thread 0x00007f2d73f7db80 [MainThread] (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/srv/app.py", line 9 in crash

Extension modules: msgspec._core (total: 1)
"""


def shown(text: str) -> str:
    is_shown = new_crash_filter()
    return "".join(line for line in text.splitlines(keepends=True) if is_shown(line.rstrip("\n").encode()))


def test_the_trace_of_a_crash_ends_at_the_users_frames() -> None:
    """The frames that called the user's code are left out, in each thread; all other output is shown."""
    assert shown(CRASH) == SHOWN


def test_a_crash_in_our_own_code_is_shown() -> None:
    """If Penstock's own frames are the most recent ones, they are where it crashed."""
    header, ours, others = "Current thread 0x01 (most recent call first):\n", "", '  File "/x.py", line 1 in f\n'
    ours = f'  File "{OURS}codec/encoding.py", line 1 in g\n'
    assert shown(header + ours + ours + others + ours + others) == header + ours + ours + others


def test_what_only_looks_like_a_frame_is_shown() -> None:
    """A traceback of Python's own, and a frame outside a stack, are the user's business."""
    text = f'Traceback (most recent call last):\n  File "{OURS}context.py", line 1, in check\n'
    assert shown(text) == text


def test_it_knows_what_faulthandler_writes() -> None:
    """The format is that of the Python that runs the tests."""
    code = "import faulthandler, sys; exec(compile('def f(): faulthandler.dump_traceback()', sys.argv[1], 'exec')); f()"
    text = subprocess.run(
        [sys.executable, "-c", code, f"{OURS}x.py"], capture_output=True, text=True, check=True
    ).stderr
    assert f'"{OURS}x.py", line 1 in f' in text
    wrapped = text.replace(text.splitlines()[1], f'  File "/srv/app.py", line 1 in f\n{text.splitlines()[1]}', 1)
    assert OURS not in shown(wrapped)
    assert "/srv/app.py" in shown(wrapped)
