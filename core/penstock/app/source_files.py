"""Hashes of the files that declare an app or a handler, taken while they are imported.

Later would be too late: a file may be edited while it is served, and an import that ends where the program opens an
engine leaves no module behind.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


def add_source_file(files: dict[str, str], module: str) -> None:
    """Add the path of a module's file with a hash of its content, unless it is there or cannot be read."""
    name = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(name, str) or name in files:
        return
    try:
        files[name] = content_hash(Path(name).read_bytes())
    except OSError:  # the module is in an archive, for instance
        return


def content_hash(content: bytes) -> str:
    """Return a hash that is the same in every process."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
