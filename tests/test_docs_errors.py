"""docs/how-to/errors.md lists every argument of every error."""

from __future__ import annotations

import inspect
import re

import pytest

from penstock import errors
from penstock.errors import DeclarationError, EngineError, PenstockError
from tests.serving import ROOT

TEXT = (ROOT / "docs" / "how-to" / "errors.md").read_text(encoding="utf-8")
PART = TEXT[TEXT.index("## Raise an error") :]
# The table says "any" for the arguments of the base class.
BASE = inspect.signature(PenstockError).parameters
# Raised by Penstock alone, at start-up.
OWN = (DeclarationError, EngineError)
RAISED = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, PenstockError) and not issubclass(kind, OWN)
]


def listed() -> dict[str, set[str]]:
    """Return the arguments in the table by class; those of the base class are under "any"."""
    found: dict[str, set[str]] = {}
    names: list[str] = []
    for classes, arguments in re.findall(r"^\| ([^|]*)\| (`[^|]*)\|", PART, re.MULTILINE):
        names = re.findall(r"`(\w+)`", classes) or (["any"] if classes.startswith("any") else names)
        for name in names:
            found.setdefault(name, set()).update(re.findall(r"`(\w+)`", arguments))
    return found


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_every_argument_of_an_error_is_listed(kind: type[PenstockError]) -> None:
    """Under the class itself, or under "any" if it has the arguments of the base class."""
    parameters = inspect.signature(kind).parameters
    name = "any" if parameters == BASE else kind.__name__
    assert listed()[name] == parameters.keys() - {"detail"}
