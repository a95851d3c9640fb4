"""Apps typed at a prompt, or made in a function: shipped to their workers by value."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.serving import ROOT

pytestmark = pytest.mark.e2e

APP = """
    from dataclasses import dataclass, field
    from typing import Any
    import msgspec, os, pydantic
    from collections.abc import Iterator
    from penstock import App, EngineError, open_engine, start_engine

    app = App(__name__{options})
    SCALE = 2

    @dataclass
    class Point:
        x: float
        y: float = 0.0
        tags: list[str] = field(default_factory=list)

    class Animal(msgspec.Struct, tag=True, kw_only=True):
        name: str
        def named(self, name):
            return type(self)(name=name)

    class Dog(Animal, rename="camel"):
        tail_length: int = 3

    class User(pydantic.BaseModel):
        name: str
        age: int = 3

    @app.endpoint("/scaled")
    def scaled(point: Point) -> Point:
        return Point(SCALE * point.x, SCALE * point.y)

    @app.endpoint("/dog")
    def dog(dog: Dog) -> Dog:
        return dog.named(dog.name.upper())

    @app.endpoint("/older")
    def older(user: User) -> User:
        return User(name=user.name, age=user.age + 1)

    @app.endpoint("/count")
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    @app.endpoint("/die")
    def die() -> None:
        os._exit(3)

    @app.endpoint("/model")
    class Model:
        def setup(self):
            self.scale = SCALE
        def predict(self, x: float) -> float:
            return self.scale * x

"""
USE = """
    try:
        with start_engine(app, ship="pickle") as engine:
            print(engine.call("scaled", {"x": 1.0, "y": 2.0}))
            print(engine.call("dog", {"type": "Dog", "name": "rex", "tailLength": 4}))
            print(engine.call("older", {"name": "Ada"}), engine.call("model", {"x": 4.0}))
            with engine.stream("count", {"n": 3}) as chunks: print(list(chunks))
    except BaseException as error:
        print(error)

"""
ANSWERS = [
    "{'x': 2.0, 'y': 4.0, 'tags': []}",
    "{'type': 'Dog', 'name': 'REX', 'tailLength': 3}",
    "{'name': 'Ada', 'age': 4} 8.0",
    "[0, 1, 2]",
]


def prompt(source: str, folder: Path) -> list[str]:
    """Type this at a prompt; return the lines that came out."""
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=textwrap.dedent(source),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("first", "options"),
    [("", ""), ("", ', start_method="fresh"'), ("from __future__ import annotations\n", "")],
    ids=["forked", "fresh", "postponed"],
)
def test_an_app_typed_at_a_prompt_is_served(tmp_path: Path, first: str, options: str) -> None:
    """Functions, models, dataclasses, Structs and pydantic's models, their annotations postponed or not."""
    source = textwrap.dedent(APP.replace("{options}", options)) + textwrap.dedent(USE)
    assert prompt(first + source, tmp_path) == ANSWERS


def test_a_worker_that_died_is_replaced_from_the_same_code(tmp_path: Path) -> None:
    """On trio too; the pickled app is kept for as long as the engine runs, and no longer."""
    use = """
    import trio
    async def main():
        before = len(os.listdir("/proc/self/fd"))
        async with open_engine(app, ship="pickle") as engine:
            try:
                await engine.call("die", None)
            except Exception as error:
                print(type(error).__name__)
            print(await engine.call("scaled", {"x": 1.0}))
        print(len(os.listdir("/proc/self/fd")) - before)

    trio.run(main)

    """
    source = textwrap.dedent(APP.replace("{options}", "")) + textwrap.dedent(use)
    assert prompt(source, tmp_path) == ["WorkerLost", "{'x': 2.0, 'y': 0.0, 'tags': []}", "0"]


def test_without_it_the_error_names_it(tmp_path: Path) -> None:
    """An app at a prompt cannot be imported; the error says what to pass."""
    use = """
    try:
        start_engine(app)
    except EngineError as error:
        print(error)

    """
    source = textwrap.dedent(APP.replace("{options}", "")) + textwrap.dedent(use)
    [error] = prompt(source, tmp_path)
    assert 'pass ship="pickle"' in error
