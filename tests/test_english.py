"""The project is written in plain, idiomatic technical English: the ban list of ``tests.english``, applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import english
from tests.serving import ROOT

AREAS = ["core", "adapters", "plugins", "client", "examples", "bench", "docs", "changelog.d", "tests"]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def found_in(text: str, name: str = "module.py") -> list[str]:
    return [finding.reason for finding in english.findings(Path(name), text)]


@pytest.mark.parametrize("area", [*AREAS, *PAGES])
def test_nothing_is_on_the_ban_list(area: str) -> None:
    """Docstrings, comments, messages and pages; in tests, docstrings and comments."""
    found = [
        finding
        for path in english.files([ROOT / area])
        for finding in english.findings(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]
    assert [str(finding) for finding in found] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "What a hook has returned is checked.",  # english-ok: an example
        "Read it. Whether it fits is checked later.",  # english-ok: an example
        "The caller is told of it.",  # english-ok: an example
        "Nobody waits for it.",  # english-ok: an example
        "It gives a number.",  # english-ok: an example
        "A class that is no plug-in.",  # english-ok: an example
        "It runs for ever.",  # english-ok: an example
        "Those of a route are refused.",  # english-ok: an example
        "It attempts to read.",  # english-ok: an example
        "The log has such attempts.",  # english-ok: an example
        "It gives up after three tries.",  # english-ok: an example
    ],
)
def test_the_check_can_fail(sentence: str) -> None:
    """Each of these is found in a docstring, in a comment, in a message and on a page."""
    assert found_in(f'"""{sentence}"""\n')
    assert found_in(f"# {sentence}\n")
    assert found_in(f'raise ValueError("{sentence}")\n')
    assert found_in(f"{sentence}\n", "page.md")


@pytest.mark.parametrize(
    "text",
    [
        '"""Return whether it is closed."""\n',
        '"""A plug-in. Why is it here? What does it do?"""\n',
        "# there is no worker, and no longer a pool\n",
        'names = ["told", "mend"]\n',
        '"""The name ``told`` of a variable."""\n',
        '"""The time from the start of an attempt to the first chunk."""\n',
        "x = 1  # somebody else's code  english-ok: quoted from another program\n",
    ],
)
def test_plain_english_is_left_alone(text: str) -> None:
    """Questions, code, single words in strings, and lines that are exempt for a reason."""
    assert found_in(text) == []


def test_code_blocks_of_a_page_are_left_alone() -> None:
    """The output of a program is quoted as it is."""
    assert found_in("Run it:\n\n```\n$ cat it\nnobody was told\n```\n", "page.md") == []
