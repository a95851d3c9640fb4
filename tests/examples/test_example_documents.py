"""The OpenAPI documents of the examples."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import openapi_spec_validator

from tests.serving import ROOT

APPS = [
    f"{path.relative_to(ROOT)}:{name}"
    for path in sorted((ROOT / "examples").glob("*.py"))
    for name in re.findall(r"^(\w+) = App\(__name__", path.read_text(encoding="utf-8"), re.MULTILINE)
]
DESCRIBE = """
import json, sys
from penstock.hosting import Registry, load_app, openapi_document

sys.path.insert(0, "examples")
for path in sys.argv[1:]:
    app = load_app(path)
    print(json.dumps(openapi_document(app, Registry.load(app))))
"""


def test_every_example_has_a_valid_document() -> None:
    """Each describes itself with a text, and describes all of its endpoints."""
    command = [sys.executable, "-c", DESCRIBE, *APPS]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    documents = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(documents) == len(APPS) >= 3
    for document in documents:
        openapi_spec_validator.validate(document)
        assert document["paths"]
        assert document["info"]["description"]
