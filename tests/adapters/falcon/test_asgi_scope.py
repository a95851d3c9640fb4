"""The scopes of servers and mounting frameworks, brought into the form that Falcon reads."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_falcon._asgi.asgi_scope import normalized


def scope(**changes: Any) -> dict[str, Any]:
    return {"type": "http", "http_version": "1.1", "path": "/square", "query_string": b"", "root_path": "", **changes}


def test_a_plain_scope_is_left_alone() -> None:
    """It is not even copied: this happens for every request."""
    plain = scope(query_string=b"a=%20")
    assert normalized(plain) is plain
    without = {name: value for name, value in plain.items() if name != "root_path"}
    assert normalized(without) is without


@pytest.mark.parametrize(
    ("root_path", "path", "found"),
    [
        ("/models", "/models/square", "/square"),
        ("/models/", "/models/square", "/square"),
        ("/models", "/square", "/square"),
        ("/models", "/models2/square", "/models2/square"),
        ("/models", "/models", "/models"),
        ("/a/b", "/a/b/-/status", "/-/status"),
        ("", "http://host:80/square", "/square"),
        ("", "HTTPS://host/square", "/square"),
        ("", "http://host", "/"),
        ("/models", "/modelshttp://host/square", "/square"),
        ("", "//square", "//square"),
    ],
)
def test_the_path_is_that_of_the_endpoint(root_path: str, path: str, found: str) -> None:
    """Without the prefix under which the application is mounted, and without the authority of an absolute target."""
    assert normalized(scope(root_path=root_path, path=path))["path"] == found


def test_granians_http_1_0_is_known() -> None:
    """Falcon would raise an exception for version "1"."""
    assert normalized(scope(http_version="1"))["http_version"] == "1.0"


def test_a_query_string_that_cannot_be_decoded_is_dropped() -> None:
    """Falcon decodes it where no error handler applies."""
    assert normalized(scope(query_string=b"a=\xff"))["query_string"] == b""
