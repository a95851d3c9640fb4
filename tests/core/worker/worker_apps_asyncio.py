"""An app that runs on asyncio alone."""

from __future__ import annotations

import sys

from penstock.app import App

app = App(__name__)


@app.endpoint("/is-trio-imported", pool="default", runtime="asyncio")
def is_trio_imported() -> bool:
    return "trio" in sys.modules
