"""Paths with variables, matched as an adapter's router does."""

from __future__ import annotations

import re

_VARIABLE = re.compile(r"{(\w+)(:path)?}")


def pattern_of(path: str) -> re.Pattern[str]:
    """Return the pattern that the paths of a route match, with a group for each variable."""
    pattern, end = "", 0
    for variable in _VARIABLE.finditer(path):
        pattern += re.escape(path[end : variable.start()])
        pattern += f"(?P<{variable[1]}>{'.+' if variable[2] else '[^/]+'})"
        end = variable.end()
    return re.compile(pattern + re.escape(path[end:]))
