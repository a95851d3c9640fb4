"""The glossary has the project's nouns, and no word that the code has stopped using."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.serving import ROOT

TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!word \|)([a-z, ]+) \|", TEXT, re.MULTILINE)
WORDS = [word for row in ROWS for word in row.split(", ")]
# Words at the end of class names that mean here what they mean in every program.
PLAIN = """
    answer, app, application, arbiter, backoff, base, batching, body, breaker, bucket, budget, buffer, candidate,
    change, check, client, clock, collector, database, decision, demand, descriptor, ending, error, failure,
    formatter, group, guard, handle, header, key, kind, lifespan, limit, line, loader, log, logger, mode, name,
    opinion, option, page, parameter, process, progress, protocol, proxy, pump, query, reader, recorder, result,
    retry, router, server, setting, simulation, size, socket, source, stream, thread, timer, transaction,
    transition, value, watch, webhook
"""
PARTICIPLE = re.compile("[a-z]+ed|ahead|broken|short")
# The modules whose classes are named for happenings and messages, not for things.
HAPPENINGS = {
    "commands",
    "errors",
    "events",
    "host_messages",
    "records",
    "reports",
    "plan_messages",
    "store_errors",
    "wire",
}
VERBS = "admit, back off, drain, interrupt, kill, recall, refuse, sending ahead, shed"


def listed(words: str) -> list[str]:
    return " ".join(words.split()).split(", ")


def source_files() -> list[Path]:
    """Return the modules of the core, the adapters and the client, without generated ones."""
    packages = [init.parent for root in ("core", "adapters", "client") for init in (ROOT / root).glob("*/__init__.py")]
    return [file for package in packages for file in package.rglob("*.py") if "_pb2" not in file.stem]


def words_of_the_code() -> str:
    """Return all words of the three in lower case; names are split at underscores and capitals."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in source_files())
    return " ".join(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text))


CODE = words_of_the_code()


def nouns_of_the_classes() -> dict[str, str]:
    """Return the last word of each public class of the core, the adapters and the client, with the class's name."""
    nouns = {}
    for file in source_files():
        if file.stem not in HAPPENINGS:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            names = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
            nouns.update({re.findall(r"[A-Z][a-z]+", name)[-1].lower(): name for name in names})
    return nouns


def is_known(noun: str) -> bool:
    singulars = {noun, noun.removesuffix("s"), noun.removesuffix("es"), re.sub("ies$", "y", noun)}
    return bool(PARTICIPLE.fullmatch(noun) or singulars & {*WORDS, *listed(PLAIN)})


def test_every_class_is_named_with_a_word_of_the_glossary() -> None:
    """The noun at the end of a class's name has a row, or is one that every programmer knows, or a participle."""
    assert {noun: name for noun, name in nouns_of_the_classes().items() if not is_known(noun)} == {}


def test_every_verb_has_a_row() -> None:
    """Each verb that the code uses in a sense of its own is explained."""
    assert [verb for verb in listed(VERBS) if verb not in WORDS] == []


def test_each_word_has_one_row() -> None:
    """One word, one meaning."""
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_used_in_the_code(word: str) -> None:
    """A word that has gone from the core, the adapters and the client goes from the glossary too."""
    assert re.search(rf"\b{word}(?:s|es)?\b", CODE)
