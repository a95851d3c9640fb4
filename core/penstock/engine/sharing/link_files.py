"""Large bodies on a connection between a shared engine and a host: received when announced, or sent ahead."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.body_files import Body, BodyFile, FileMissingError
from penstock.engine.sharing.host_messages import SubmitJob
from penstock.engine.sharing.message_link import MessageLink
from penstock.errors import PenstockError, Unavailable


def body_of(link: MessageLink, message: SubmitJob) -> Body | PenstockError:
    """Return the body of a job; an error if it is in a file and cannot be received."""
    if not message.file_bytes:
        return message.body
    try:
        return link.receive_file(message.file_bytes)
    except (FileMissingError, OSError) as error:
        return Unavailable(f"the body cannot be received: {error}")


def with_file_sent(link: MessageLink, outcome: Any, file: BodyFile) -> Any:
    """Send the file that an outcome has as its body; return the outcome as its message carries it."""
    body = b"" if link.send_file(file) else file.read_all()  # the host has not taken the others yet
    file.release()
    return msgspec.structs.replace(outcome, body=body)
