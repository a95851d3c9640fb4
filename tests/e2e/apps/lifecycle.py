"""A model that writes a mark at each step of its life."""

from __future__ import annotations

import os

from penstock import App
from tests.e2e.apps.marks import mark

app = App(__name__)


@app.endpoint("/greet")
class Greeter:
    def setup(self) -> None:
        mark("setup", str(os.getpid()))
        self.greeting = "Hello"

    def predict(self, name: str) -> str:
        return f"{self.greeting}, {name}"

    def teardown(self) -> None:
        mark("teardown", f"{self.greeting} {os.getpid()}")
