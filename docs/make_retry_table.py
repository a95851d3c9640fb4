"""Regenerate the table of retries in docs/how-to/client.md from the data that the client decides by."""

from __future__ import annotations

import re
from pathlib import Path

from penstock_client.retry_table import as_markdown

PAGE = Path(__file__).resolve().parent / "how-to" / "client.md"


def with_retry_table(page: str) -> str:
    """Return the page with its table regenerated.

    Raises
    ------
    ValueError
        If the page has no place for it, or several.
    """
    marked = re.compile(r"(<!-- retries -->\n).*?(<!-- end -->)", re.DOTALL)
    page, count = marked.subn(lambda match: f"{match[1]}{as_markdown()}{match[2]}", page)
    if count != 1:
        raise ValueError(f"{PAGE} has {count} places for the table; keep one")
    return page


if __name__ == "__main__":
    PAGE.write_text(with_retry_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
