"""The page on which people read the description of the app, and call its endpoints: files, served as they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from penstock.hooks.routes import Route, RouteEngine, RouteHandler, RouteRequest, RouteResponse

PAGE_PATH: Final = "/docs"
_FOLDER: Final = Path(__file__).parent / "page"
# The page finds the others below its own path, so that all work behind any prefix.
_FILES: Final = {
    PAGE_PATH: ("docs", "index.html", "text/html; charset=utf-8"),
    f"{PAGE_PATH}/page.css": ("docs-style", "page.css", "text/css; charset=utf-8"),
    **{
        f"{PAGE_PATH}/{file.name}": (f"docs-script-{file.stem}", file.name, "text/javascript; charset=utf-8")
        for file in sorted(_FOLDER.glob("*.js"))
    },
}
# Nothing but the files of the page itself runs in it, and it sends to no other server. The answers that it shows as
# pictures and sound are blobs of its own.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # To be kept, and asked about each time: another version of Penstock has other files.
    "Cache-Control": "no-cache",
}


def page_routes() -> list[Route]:
    """Return the routes of the page. They are open: a browser opens it without a key, and it has nothing of the app."""
    return [
        Route(path=path, name=name, handler=_file_handler(file, media_type), is_open=True, is_local=True)
        for path, (name, file, media_type) in _FILES.items()
    ]


def _file_handler(name: str, media_type: str) -> RouteHandler:
    content = (_FOLDER / name).read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    whole = RouteResponse(body=content, media_type=media_type, headers={**_HEADERS, "ETag": etag})
    unchanged = RouteResponse(body=b"", status=304, media_type=media_type, headers={**_HEADERS, "ETag": etag})

    def answer(request: RouteRequest, _engine: RouteEngine) -> RouteResponse:
        known = request.header("if-none-match")
        return unchanged if known is not None and etag in known else whole

    return answer
