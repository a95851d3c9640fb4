"""Errors as clients may see them: what belongs into a log alone is left out."""

from __future__ import annotations

from penstock.errors import UNENCODABLE, HandlerError, HookError, InvalidRequest, PenstockError
from penstock.hooks.dialects import PublicError

# The types that OpenAI-style clients expect. All others are one of two.
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    504: "timeout_error",
}


def public_detail(error: PenstockError, *, debug: bool) -> str:
    """Return the text that clients may see: messages of user exceptions are included only with ``debug``."""
    if isinstance(error, HandlerError) and error.exception_type != UNENCODABLE:
        if not debug:
            return "The handler raised an exception. The server's log has it, under this request id."
        return f"{error.exception_type}: {error.detail}" if error.exception_type else error.detail
    if isinstance(error, HookError) and not debug:
        return "A plug-in raised an exception. The server's log has it, under this request id."
    return error.detail


def public_error(error: PenstockError, request_id: str, *, debug: bool) -> PublicError:
    """Return what the client may see of an error."""
    status = error.status
    return PublicError(
        status=status,
        code=error.code,
        title=error.title,
        message=public_detail(error, debug=debug),
        type=_ERROR_TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error"),
        request_id=request_id,
        param=error.param,
        errors=error.errors if isinstance(error, InvalidRequest) else (),
        traceback=error.traceback if debug and isinstance(error, HandlerError) else "",
    )
