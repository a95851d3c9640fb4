"""The beginning of a protocol's paths, as a setting."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from penstock.hooks import PluginSettings

_PREFIX: Final = re.compile(r"(/[\w.-]+)*", re.ASCII)


class PathSettings(PluginSettings, frozen=True, kw_only=True):
    """The settings of the paths of a protocol.

    Parameters
    ----------
    prefix:
        The beginning of all paths: the part of a client's ``base_url`` after the host.

    Raises
    ------
    ValueError
        If the prefix is not a path; the message has the example.
    """

    example: ClassVar[str] = "/v1"

    prefix: str = ""

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(
                f"prefix={self.prefix!r} is not the beginning of a path; write for instance {self.example}"
            )
