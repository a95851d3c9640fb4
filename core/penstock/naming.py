"""What to say of a name that is not there: what was probably meant, or what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from penstock.errors import PluginError

if TYPE_CHECKING:
    from penstock.app import App


def near_miss(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: ``did you mean x?``, or else ``there are: a, b, c``."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(names) or 'none'}"


def require_endpoints(app: App, names: Iterable[str], *, plugin: str, setting: str) -> None:
    """See that a plug-in was told of no endpoint that is not there; for its ``check``.

    Parameters
    ----------
    app:
        What is served.
    names:
        Of endpoints, as they were set.
    plugin, setting:
        Where.

    Raises
    ------
    PluginError
        For the first that is unknown, with what was probably meant.
    """
    known = [endpoint.name for endpoint in app.endpoints]
    for name in names:
        if name not in known:
            raise PluginError(
                f"setting {setting!r} of plug-in {plugin!r} names endpoint {name!r}, which is not there; "
                f"{near_miss(name, known)}"
            )
