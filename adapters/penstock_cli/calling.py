"""``penstock call``: run one call without a server, and print what a client would receive."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NoReturn

from penstock import PenstockError
from penstock.errors import PluginError
from penstock.hosting import Encoded, ThreadedCall, ThreadedEngine, data_of
from penstock_cli.call_targets import submission_to
from penstock_cli.targets import TargetError, include_current_folder, load_target, user_code

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
STDIN = "-"


def call_app(
    target: str, name: str, text: str | None, arguments: Sequence[str] = (), *, timeout: float | None
) -> NoReturn:
    """Start the app's workers, run one job, and print its result to stdout.

    Parameters
    ----------
    target, arguments:
        The app, and its own arguments.
    name:
        The path or the name of the endpoint: see ``submission_to``.
    text:
        The body of the request; ``-`` if it is to be read from stdin, None if it is empty.
    timeout:
        The time for the job in seconds, as for ``engine.call``.

    Raises
    ------
    click.ClickException
        With exit code 2, if there is no such app or endpoint, or if the endpoint cannot take this body.
    SystemExit
        With the exit code, otherwise.
    """
    try:
        sys.exit(_exit_code(target, name, text, arguments, timeout))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _exit_code(target: str, name: str, text: str | None, arguments: Sequence[str], timeout: float | None) -> int:
    include_current_folder()
    app = load_target(target, arguments)
    body = None if text is None else sys.stdin.buffer.read() if text == STDIN else os.fsencode(text)
    with user_code():
        _ = app.pools  # validates more than the declarations do by themselves
    try:
        submission = submission_to(name, app, target, body)  # before the models are loaded, which may take minutes
    except PenstockError as error:
        return _report(error)
    total = submission.timeouts.total
    if timeout is not None and (total is None or timeout < total):
        submission.timeouts = dataclasses.replace(submission.timeouts, total=timeout)
    try:
        with ThreadedEngine(app, target=target) as engine, _quiet_interrupt():
            engine.wait_ready()
            return _answer(engine.submit(submission, body or b""), sys.stdout.buffer)
    except PluginError as error:
        raise TargetError(str(error)) from None
    except PenstockError as error:
        return _report(error)


@contextlib.contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Log nothing about an engine that Ctrl-C stops."""
    try:
        yield
    except KeyboardInterrupt:
        logging.disable()
        raise


def _answer(call: ThreadedCall, output: BinaryIO) -> int:
    """Write the result of a call, or its chunks as they arrive."""
    outcome = None
    while outcome is None:
        call.wait()
        outcome = call.outcome  # read first: chunks that came before the end are still to be taken
        chunks = call.take()
        if chunks:
            _write(chunks, output, is_raw=call.head is not None and call.head.media_type is not None)
    head = call.head
    call.close()
    if not isinstance(outcome, Encoded):
        raise outcome
    if head is None and outcome.body:
        _write([outcome.body], output, is_raw=outcome.media_type is not None)
    return EXIT_FAILED if (head or outcome).status >= 400 else 0


def _write(pieces: list[bytes], output: BinaryIO, *, is_raw: bool) -> None:
    output.write(b"".join(pieces if is_raw else [piece + b"\n" for piece in data_of(pieces)]))
    output.flush()


def _report(error: PenstockError) -> int:
    print(f"{error.code}: {error.detail}", file=sys.stderr)
    return EXIT_FAILED
