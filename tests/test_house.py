"""House rules that no linter checks. Each test checks one rule, stated in its docstring."""

from __future__ import annotations

import ast
import configparser
import os
import re
import statistics
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from docs import make_retry_table, make_server_table, make_state_diagrams
from tests.serving import ROOT

SERVER_ROOTS = [ROOT / name for name in ("core", "adapters", "plugins")]
SOURCE_ROOTS = [*SERVER_ROOTS, ROOT / "client"]
BINARY = {".png", ".jpg", ".gif", ".pdf", ".zip", ".wav", ".bin"}
GENERATED = {"build", "dist", "__pycache__"}
# Written in two parts, so that this file keeps its own rules.
UNFINISHED = re.compile("|".join(word for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X")))
HOME_FOLDER = re.compile("/(?:home|root|" + "Users)/[a-z]")
LONG_FUNCTION_LINES = 30


def files() -> Iterator[Path]:
    """Yield every file of the project, except for generated and hidden ones."""
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [n for n in inner if n not in GENERATED and not n.endswith(".egg-info") and not n.startswith(".")]
        yield from (Path(folder) / name for name in names)
    yield ROOT / ".ci" / "run"


def python_files(*roots: Path) -> list[Path]:
    return sorted(path for path in files() if path.suffix == ".py" and any(root in path.parents for root in roots))


def texts() -> Iterator[tuple[Path, str]]:
    for path in files():
        if path.suffix not in BINARY:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def packages(roots: Iterable[Path] = SOURCE_ROOTS) -> dict[str, Path]:
    """Return the folder of every package of the source roots, by dotted name."""
    found = {}
    for root in roots:
        for init in sorted(init for top in root.glob("*/__init__.py") for init in top.parent.rglob("__init__.py")):
            found[".".join(init.parent.relative_to(root).parts)] = init.parent
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.fixture(scope="module")
def metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


# ---- names


def test_no_module_is_named_utils_or_like_the_standard_library() -> None:
    """A module's name says what it contains, and never shadows a module of the standard library."""
    forbidden = {*sys.stdlib_module_names, "utils", "util", "helpers", "common", "misc"} - {"__main__"}
    modules = [*python_files(*SOURCE_ROOTS, ROOT / "examples", ROOT / "bench", ROOT / "tests")]
    bad = [str(path.relative_to(ROOT)) for path in modules if path.stem in forbidden]
    bad += [name for name in packages() if name.rpartition(".")[2] in forbidden]
    assert bad == []


def test_cancelled_is_spelled_one_way() -> None:
    """The project spells it as the field does, with two l."""
    one_l = re.compile("cancel" + "(?:ed|ing)", re.IGNORECASE)
    assert [str(path) for path, text in texts() if one_l.search(text)] == []


# ---- what no file contains


def test_nothing_is_left_to_do_in_the_code() -> None:
    """No file carries a mark of unfinished work."""
    assert [str(path) for path, text in texts() if UNFINISHED.search(text)] == []


def test_no_file_mentions_a_home_folder() -> None:
    """The project works from any folder: no file names a folder of one machine."""
    assert [str(path) for path, text in texts() if HOME_FOLDER.search(text)] == []


def test_every_silenced_warning_of_the_linter_has_its_reason() -> None:
    """``noqa`` names the rule and then the reason, on the same line."""
    silenced = re.compile(r"# noqa(?P<rest>.*)")
    reasoned = re.compile(r": [A-Z]+[0-9]+(?:, ?[A-Z]+[0-9]+)* +(?:- |# |\()?\w+.*")
    bad = [
        f"{path}: {match[0]}"
        for path, text in texts()
        if path.suffix == ".py" and path.name != Path(__file__).name
        for match in silenced.finditer(text)
        if not reasoned.fullmatch(match["rest"])
    ]
    assert bad == []


def test_every_rule_that_is_off_has_its_reason() -> None:
    """Each code in a list of ignored rules of ``pyproject.toml`` is followed by a comment."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    codes = re.findall(r'^    "([A-Z]+[0-9]*)",(.*)$', text, re.MULTILINE)
    assert [code for code, comment in codes if not comment.strip().startswith("#")] == []


# ---- shape


def test_functions_are_short() -> None:
    """Nine functions in ten are under 30 lines long, and the median is at most 12, with docstrings."""
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in python_files(*SOURCE_ROOTS)
        for node in functions(path)
    )
    assert statistics.median(lengths) <= 12
    assert sum(length < LONG_FUNCTION_LINES for length in lengths) / len(lengths) >= 0.9


def test_no_module_is_a_heap() -> None:
    """A module stays under 700 lines, so that it can be read in one go."""
    long = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in python_files(*SOURCE_ROOTS)}
    assert {path: lines for path, lines in long.items() if lines > 700} == {}


def test_every_test_states_its_rule() -> None:
    """Each test has a docstring, so that a failure reads as a sentence of the specification."""
    bad = [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in python_files(ROOT / "tests")
        if path.name.startswith("test_")
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert bad == []


# ---- the distribution


def test_every_package_is_typed() -> None:
    """Each top-level package tells type checkers that it is annotated."""
    tops = [path for name, path in packages().items() if "." not in name]
    assert tops
    assert [path.name for path in tops if not (path / "py.typed").is_file()] == []


def test_the_distribution_has_every_package_of_the_tree(metadata: configparser.ConfigParser) -> None:
    """``setup.cfg`` lists the packages of all roots by hand; a new folder must not be missing from the wheel."""
    known = packages(SERVER_ROOTS)
    assert lines_of(metadata["options"]["packages"]) == sorted(known)
    mapping = dict(line.split(" = ") for line in lines_of(metadata["options"]["package_dir"]))
    assert {name: ROOT / folder for name, folder in mapping.items()} == {
        name: path for name, path in known.items() if "." not in name
    }


def test_the_client_is_a_distribution_of_its_own() -> None:
    """It has every package of its folder, and needs two distributions, at the versions that the suite runs with."""
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["packages"] == sorted(packages([ROOT / "client"]))
    files = [ROOT / "requirements" / name for name in ("runtime.txt", "dev.txt")]
    pinned = [line.split("==") for file in files for line in lines_of(file.read_text()) if "==" in line]
    bounds = dict(line.partition(",")[0].split(">=") for line in project["project"]["dependencies"])
    assert bounds.keys() == {"httpx2", "msgspec"}
    assert {name: dict(pinned)[name][: len(bound)] for name, bound in bounds.items()} == bounds


def test_the_environment_is_pinned_in_full() -> None:
    """Every requirement is an exact version, and no index is named."""
    pin = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*|-r [a-z]+\.txt")
    contents = [path.read_text(encoding="utf-8") for path in (ROOT / "requirements").iterdir()]
    assert [line for text in contents for line in lines_of(text) if not pin.fullmatch(line)] == []


def test_what_is_required_is_what_is_pinned(metadata: configparser.ConfigParser) -> None:
    """The lower bounds in the metadata are the pinned minor versions, with which the suite runs."""
    pins = dict(line.split("==") for line in lines_of((ROOT / "requirements" / "runtime.txt").read_text()))
    required = lines_of(metadata["options"]["install_requires"]) + lines_of(metadata["options.extras_require"]["fast"])
    bounds = dict(line.partition(",")[0].split(">=") for line in required)  # an upper bound may follow
    assert {name: pins[name][: len(bound)] for name, bound in bounds.items()} == bounds


def test_the_build_needs_what_the_pins_have() -> None:
    """The pinned setuptools satisfies the build requirement: the editable install is not isolated."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    [bound] = [int(line.removeprefix("setuptools>=")) for line in needed]
    pins = dict(line.split("==") for line in lines_of((ROOT / "requirements" / "runtime.txt").read_text()))
    assert int(pins["setuptools"].split(".")[0]) >= bound


# ---- the documentation


def pages() -> list[Path]:
    return sorted((ROOT / "docs").rglob("*.md"))


def test_every_page_is_linked_from_the_index() -> None:
    """The index links to every page; a reader would not find a page that it leaves out."""
    index = ROOT / "docs" / "index.md"
    linked = set(re.findall(r"\]\(([^)#:]+\.md)", index.read_text(encoding="utf-8")))
    assert {str(page.relative_to(ROOT / "docs")) for page in pages()} - {"index.md"} == linked


def test_every_link_between_files_leads_somewhere() -> None:
    """A relative link in a document names a file that exists."""
    documents = [*pages(), *ROOT.glob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in documents
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if ":" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_link_to_a_section_leads_to_a_heading() -> None:
    """A link with ``#section`` names a heading of its page, so renaming a heading breaks no link."""
    broken = []
    for page in [*pages(), *ROOT.glob("*.md")]:
        for target, section in re.findall(r"\]\(([^)#:]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
            text = ((page.parent / target) if target else page).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            if section not in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}:
                broken.append(f"{page.relative_to(ROOT)} -> {target}#{section}")
    assert broken == []


def test_the_state_diagrams_are_those_of_the_tables() -> None:
    """The diagrams in the design page are generated from the scheduler's tables: ``make docs`` updates them."""
    page = make_state_diagrams.PAGE.read_text(encoding="utf-8")
    assert make_state_diagrams.with_diagrams(page) == page


def test_the_table_of_servers_is_what_the_tests_have_found() -> None:
    """`make docs` would not change it. That the findings are true is checked by tests/e2e/test_servers.py."""
    page = make_server_table.PAGE.read_text(encoding="utf-8")
    assert make_server_table.with_table(page, make_server_table.read_findings()) == page


def test_the_table_of_retries_is_that_of_the_client() -> None:
    """The page shows the rows that the client decides by: ``make docs`` updates them."""
    page = make_retry_table.PAGE.read_text(encoding="utf-8")
    assert make_retry_table.with_retry_table(page) == page


def test_the_readme_names_commands_that_exist() -> None:
    """Each ``make ...`` of the README and CONTRIBUTING is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    words = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", words, re.MULTILINE))
    assert {"serve", "test"} <= named <= targets


def test_changelog_fragments_are_named_for_towncrier() -> None:
    """A fragment is ``<number or +name>.<type>.md``; towncrier silently ignores any other name."""
    towncrier = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in towncrier["type"]}
    names = [path.name for path in (ROOT / "changelog.d").iterdir() if path.name != ".gitignore"]
    assert [name for name in names if not re.fullmatch(rf"(\d+|\+[a-z-]+)\.({'|'.join(kinds)})\.md", name)] == []
