"""Offers of endpoints as models of the protocol, for ``endpoint(dialects=[...])``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from penstock.errors import DeclarationError
from penstock.hooks import DialectOffer, Endpoint
from penstock_oip.handler_inputs import require_tensors

PLUGIN = "oip"

_NAME = re.compile(r"[^\x00-\x1f\x7f/](?:[^\x00-\x1f\x7f]{0,198}[^\x00-\x1f\x7f/])?")
_VERSION = re.compile(r"[\w.-]{1,100}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Infer(DialectOffer):
    """An endpoint as a model of the Open Inference Protocol. Its handler takes and returns tensors.

    Parameters
    ----------
    name:
        The name of the model. It may have slashes and spaces. Default: the name of the endpoint.
    version:
        The version that this endpoint is. Several endpoints may be versions of one model; a request that names no
        version gets the one with the highest number.
    outputs:
        The names of the outputs for clients, in the order of the tensors that the handler returns. Default: the names
        of the fields of its class, or ``output`` for a single array.
    platform:
        The ``platform`` in the metadata of the model, which clients only show.
    """

    name: str | None = None
    version: str = "1"
    outputs: tuple[str, ...] | list[str] | None = None
    platform: str = "penstock"

    gatherer: ClassVar[str] = PLUGIN

    def __post_init__(self) -> None:
        if self.name is not None and not _NAME.fullmatch(str(self.name)):
            raise DeclarationError(
                f"{self}: {self.name!r} is not a model's name; use one line of text that neither begins nor ends with "
                "a slash"
            )
        if not _VERSION.fullmatch(str(self.version)):
            raise DeclarationError(f'{self}: {self.version!r} is not a version; write for instance version="1"')
        if isinstance(self.outputs, str):
            raise DeclarationError(f"{self}: outputs is a str; write outputs=[{self.outputs!r}]")

    def __str__(self) -> str:
        return "Infer()" if self.name is None else f"Infer(name={self.name!r})"

    def check(self, endpoint: Endpoint) -> None:
        """Check that the handler takes tensors and returns tensors.

        Raises
        ------
        DeclarationError
            If it does not; has the fix.
        """
        owner = f"endpoint {endpoint.name!r}: {self}"
        require_tensors(endpoint, owner)
        results = endpoint.codec.tensors.results
        if self.outputs is not None and len(set(self.outputs)) != len(results):
            raise DeclarationError(
                f"{owner} has outputs={list(self.outputs)!r}, but the handler returns {len(results)}: "
                f"{', '.join(results)}; name each of them once"
            )
