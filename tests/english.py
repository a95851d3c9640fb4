"""The ban list for the project's English: patterns that read like a translation or a riddle.

``python -m tests.english PATH ...`` prints its findings in files and folders, one line each. Prose is the docstrings
and comments of Python files, the strings of shipped code (which include its messages), and the text of Markdown outside
code blocks. A line is exempt if it carries ``english-ok: <reason>`` in a comment.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

EXEMPT = re.compile(r"english-ok: \w+")

# A clause in place of a sentence. Questions may begin with these words.
# The look-behinds match the start of the text, of a sentence and of a paragraph.
BARE_CLAUSE = re.compile(
    r"(?:^|(?<=[.!?:] )|(?<=[.!?]\) )|(?<=\n\n))"
    r"(?:What|Whether|Whose|Who|Whom|Whoever|How|Of)\b(?![^.!?]*\?)"
)
BARE_COMMENT = re.compile(r"^(?:what|whether|whose|who|whom|whoever|how|of)\b(?![^.!?]*\?)", re.IGNORECASE)

BANNED = {
    "told: write reported, logged, answered, passed": r"\btold\b",
    "mend: write fix": r"\bmend(?:s|ed|ing)?\b",
    "likewise: say it, or write 'the same'": r"\blikewise\b",
    "whoever: name the caller, the operator, the client": r"\bwho(?:m|so)?ever\b",
    "somebody, nobody: name the caller, the operator, a worker": r"\b(?:some|no|every|any)body(?:'s)?\b",
    "for ever: write indefinitely, forever": r"\bfor ever\b",
    "so many: write the number or the name of it": r"\bso many\b",
    "gives: write returns, passes, sends": r"\b(?:gives|gave)\b(?! (?:up|back|way)\b)",
    "is given: write receives, is passed": r"\b(?:is|are|was|were|been) given\b(?! up\b)",
    "is no: write is not a": (
        r"(?<!there )(?<!There )\b(?:is|are|was|were) no "
        r"(?!longer\b|more\b|less\b|fewer\b|later\b|earlier\b|other\b)"
    ),
    "that there is not: write missing": r"\b(?:that|what|which) there (?:is|are) (?:not|no)\b",
    "those of: name the noun": r"(?-i:(?:^|(?<=[.!?] ))(?:Those|That) of (?:a|an|the)\b)",
    "in vain: say what happens": r"\bin vain\b",
    # The glossary's word for one try of a job on one worker, and for nothing else.
    "attempt: only of a job on a worker; write start, request, read ...": (
        r"\battempt(?:s|ed|ing)? to (?!(?:its|the|a)\b)\w+|"
        r"\b(?:such|log-?in|password|connection|(?:re)?start) attempts?\b|\battempting\b"
    ),
    "try: of a job on a worker, write attempt": (
        r"\b(?:another|per) try\b|\btries in (?:all|total)\b|\b(?:two|three|four|five|max) tries\b"
    ),
}
_BANNED = {reason: re.compile(pattern, re.MULTILINE | re.IGNORECASE) for reason, pattern in BANNED.items()}

_CODE_SPAN = re.compile(r"``[^`]*``|`[^`\n]*`")
_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_DOC_OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Prose(NamedTuple):
    """A piece of text, and the line on which it begins."""

    line: int
    text: str
    is_comment: bool = False


class Finding(NamedTuple):
    """An occurrence of a banned pattern."""

    path: Path
    line: int
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}: {self.text}"


def _docstrings_and_strings(tree: ast.Module, *, strings: bool) -> Iterator[Prose]:
    documented = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                documented.add(id(statement.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (strings or id(node) in documented):
            is_prose = id(node) in documented or " " in node.value
            if is_prose:
                yield Prose(node.lineno, node.value)


def _comments(source: str) -> Iterator[Prose]:
    """Yield each comment. Consecutive lines of comment count as one."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        is_alone = token.line[:column].strip() == ""
        if block and is_alone and line == last + 1:
            block.append(token.string.lstrip("# "))
        else:
            if block:
                yield Prose(first, "\n".join(block), is_comment=True)
            block, first = [token.string.lstrip("# ")], line
        last = line
    if block:
        yield Prose(first, "\n".join(block), is_comment=True)


def prose_of(path: Path, source: str) -> Iterator[Prose]:
    """Yield the prose of a file. The strings in tests are data, and are left out."""
    if path.suffix == ".md":
        blank = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), source)
        yield Prose(1, blank)
    elif path.suffix == ".py":
        is_test = "tests" in path.parts
        yield from _docstrings_and_strings(ast.parse(source), strings=not is_test)
        yield from _comments(source)


def findings(path: Path, source: str) -> Iterator[Finding]:
    """Yield every occurrence of a banned pattern in a file."""
    lines = source.splitlines()
    for prose in prose_of(path, source):
        text = _CODE_SPAN.sub("x", re.sub(r"[ \t]+", " ", prose.text))
        flat = re.sub(r"(?<!\n) ?\n ?(?!\n)", " ", text)  # a sentence may run over lines
        patterns = [("a bare clause for a sentence", BARE_CLAUSE), *_BANNED.items()]
        if prose.is_comment:
            patterns.append(("a bare clause for a comment", BARE_COMMENT))
        for reason, pattern in patterns:
            for match in pattern.finditer(flat):
                around = flat[max(0, match.start() - 20) : match.end() + 40].replace("\n", " ")
                line = prose.line + _line_offset(prose.text, match[0], flat[: match.start()])
                if not any(EXEMPT.search(near) for near in lines[line - 1 : line + 1]):
                    yield Finding(path, line, reason, around.strip())


def _line_offset(text: str, found: str, before: str) -> int:
    """Return the line, counted from 0, of the occurrence of ``found`` in ``text`` that follows ``before``."""
    earlier = before.count(found)
    position = -1
    for _ in range(earlier + 1):
        position = text.find(found, position + 1)
        if position < 0:
            return 0
    return text.count("\n", 0, position)


def files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files that contain prose, at and below these paths."""
    for path in paths:
        candidates = [path] if path.is_file() else sorted(path.rglob("*"))
        candidates = [item for item in candidates if "build" not in item.relative_to(path).parts]  # of pip install
        yield from (item for item in candidates if item.suffix in {".py", ".md"} and item.name != "english.py")


if __name__ == "__main__":
    found = [
        finding
        for path in files([Path(name) for name in sys.argv[1:]])
        for finding in findings(path, path.read_text(encoding="utf-8"))
    ]
    print("\n".join(map(str, found)), f"\n{len(found)} findings")
    sys.exit(bool(found))
