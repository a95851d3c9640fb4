"""The traceback that faulthandler writes when a worker crashes, shown up to where Penstock called the user's code.

A crash cannot be caught, so the process itself writes all frames, the most recent first. The last ones are the same in
every crash, and hide the one that matters.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_HEADING: Final = b"(most recent call first):"
_FRAME: Final = b'  File "'
_MORE: Final = b"  ..."
_OURS: Final = os.fsencode(f'  File "{Path(__file__).parents[2]}{os.sep}')


def new_crash_filter() -> Callable[[bytes], bool]:
    """Return a predicate to be called with each line of one process's output: whether the line is to be shown.

    In a stack of faulthandler's, the frames from Penstock's first one on are not shown. If the stack begins with frames
    of Penstock's, the crash is in those, and they are.
    """
    is_in_stack = has_others = is_past_users = False

    def is_shown(line: bytes) -> bool:
        nonlocal is_in_stack, has_others, is_past_users
        if not is_in_stack:
            is_in_stack = line.rstrip().endswith(_HEADING)
            has_others = is_past_users = False
            return True
        if not line.startswith((_FRAME, _MORE)):
            is_in_stack = False
            return True
        if not line.startswith(_OURS):
            has_others = True
        elif has_others:
            is_past_users = True
        return not is_past_users

    return is_shown
