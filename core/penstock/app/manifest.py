"""The manifest: an app's declarations as text, so that the engine and its workers can compare theirs.

Each imports the app in a process of its own, and two imports may declare different endpoints: the file was edited in
between, a pattern matches more files, a block runs only in the main program. The text does not depend on the order of
declarations, the hash seed or addresses in memory, so equal apps have equal manifests in every process. A hash of each
file is compared too: a worker with other code than its neighbours would answer the same request in another way.

The number of workers and their devices are not part of it, because only the engine decides them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from penstock.app.app import App
from penstock.app.endpoints import Endpoint
from penstock.app.schema_facts import schema_facts, stable_text
from penstock.app.source_files import content_hash
from penstock.wire import Declared, LoadFailed, SetupFailed

Facts: TypeAlias = Mapping[str, str]

SCRIPT_MODULE = "__penstock_main__"
"""The name, in the workers, of the module that is ``__main__`` in the program that opened the engine."""

_MOST_DIFFERENCES = 20
_MOST_CHARACTERS = 200  # a default value may be as long as a file
_DIFFERENT = (
    "the workers have imported an app that differs from the engine's: if a file has changed since the start, reload "
    "the server; if not, declare the same endpoints in every import, before an engine is opened and outside "
    '`if __name__ == "__main__":`'
)


class DisagreementError(Exception):
    """The app that was imported here differs from the engine's. ``declared`` is the content of its manifest."""

    def __init__(self, declared: Declared) -> None:
        super().__init__(_DIFFERENT)
        self.declared = declared


@dataclass(frozen=True)
class Manifest:
    """The declarations of an app, as text, and a hash of each file with the app or a handler."""

    declared: Declared

    @classmethod
    def of(cls, app: App) -> Manifest:
        """Return the manifest of an app."""
        home = (app.import_name, "__main__", SCRIPT_MODULE)
        endpoints = {endpoint.name: dict(_facts_of(endpoint, home)) for endpoint in app.endpoints}
        files = {str(Path(name).resolve()): content for name, content in app.source_files.items()}
        return cls(Declared(endpoints, files))

    @cached_property
    def digest(self) -> str:
        """A hash of the manifest: the same for equal manifests, in every process. Empty if there are no endpoints."""
        if not self.declared.endpoints:
            return ""
        return content_hash(msgspec.json.encode(self.declared, order="sorted"))

    def require(self, digest: str) -> None:
        """Return if this manifest has that digest.

        Raises
        ------
        DisagreementError
            If it has another.
        """
        if digest != self.digest:
            raise DisagreementError(self.declared)

    def reason_of(self, failure: LoadFailed | SetupFailed) -> str:
        """Return why a zygote or a worker could not start.

        That is its traceback; or, if the apps differ, one line for each difference, and the advice in the last line.
        """
        if failure.declared is None:
            return failure.traceback
        differences = list(self._differences(failure.declared))
        left_out = len(differences) - _MOST_DIFFERENCES
        more = [f"... and {left_out} more"] if left_out > 0 else []
        return "\n".join([*differences[:_MOST_DIFFERENCES], *more, _DIFFERENT])

    def _differences(self, declared: Declared) -> Iterator[str]:
        for path in sorted(self.declared.files.keys() | declared.files.keys()):
            if self.declared.files.get(path) != declared.files.get(path):
                yield f"{path} has changed since it was imported for the engine"
        ours, theirs = self.declared.endpoints, declared.endpoints
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in theirs:
                yield f"endpoint {name!r} is declared for the engine, but not in its workers"
            elif name not in ours:
                yield f"endpoint {name!r} is declared in the workers, but not for the engine"
            else:
                yield from _changes(name, ours[name], theirs[name])


NOTHING_DECLARED = Manifest(Declared({}, {}))
"""The manifest with which every app agrees."""


def _changes(name: str, ours: Facts, theirs: Facts) -> Iterator[str]:
    for fact in sorted(ours.keys() | theirs.keys()):
        if ours.get(fact) != theirs.get(fact):
            here, there = (_shown(facts.get(fact)) for facts in (ours, theirs))
            yield f"endpoint {name!r}: {fact} is {here} for the engine, {there} in its workers"


def _shown(value: str | None) -> str:
    if value is None:
        return "missing"
    return value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}..."


# ---- the facts about an endpoint


def _facts_of(endpoint: Endpoint, home: Iterable[str]) -> Iterator[tuple[str, str]]:
    codec = endpoint.codec
    for name in ("method", "path", "pool", "is_class", "is_async", "is_stream", "media_type", "concurrency", "runtime"):
        yield name, stable_text(getattr(endpoint, name))
    for name in ("max_slots", "max_queue", "idempotent", "timeouts", "retries", "batching", "jobs"):
        yield from _policy_facts(name, getattr(endpoint, name))
    yield "handler", _name_of(endpoint.handler, home)
    yield "reads", codec.reads
    yield "context", stable_text(codec.context_parameter)
    for name, schema in (("input", codec.input_schema), ("output", codec.output_schema)):
        yield from schema_facts(_quietly(schema), name)


def _policy_facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if is_dataclass(value):
        for field in fields(value):
            yield from _policy_facts(f"{name}.{field.name}", getattr(value, field.name))
    elif isinstance(value, tuple):  # these are exception classes, perhaps from a set
        yield name, ", ".join(sorted(cls.__qualname__ for cls in value)) or "none"
    else:
        yield name, stable_text(value)


def _name_of(handler: Callable[..., Any], home: Iterable[str]) -> str:
    return handler.__qualname__ if handler.__module__ in home else f"{handler.__module__}.{handler.__qualname__}"


def _quietly(schema: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a schema, or an empty one if it has none: to write a schema, pydantic may run the user's code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return schema()
        except Exception:
            return {}
