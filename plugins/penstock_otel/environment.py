"""OpenTelemetry's own environment variables, as far as they are read here and not by its packages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

PACKAGES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
INSTALL: Final = "pip install 'penstock[otel]'"
_HTTP: Final = "http/protobuf"
_DISABLED: Final = "OTEL_SDK_DISABLED"
_NEVER: Final = "none"


@dataclass(frozen=True)
class Environment:
    """The variables that are set. An empty one counts as not set.

    Parameters
    ----------
    variables:
        The environment of the process.
    """

    variables: Mapping[str, str]

    @classmethod
    def of_process(cls) -> Environment:
        """Return the environment of this process."""
        return cls(os.environ)

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a variable."""
        return self.variables.get(name, "").strip() or default

    def positive(self, name: str, default: int) -> int:
        """Return the value of a variable that is a positive number; the default if it is not."""
        try:
            number = int(self.get(name))
        except ValueError:
            return default
        return number if number > 0 else default

    def exports(self, signal: str) -> bool:
        """Return whether a signal, ``traces`` or ``metrics``, is to be exported by OTLP."""
        names = self.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").split(",")
        return not self.is_disabled and "otlp" in [name.strip() for name in names]

    def propagates(self, name: str) -> bool:
        """Return whether the propagator ``tracecontext`` or ``baggage`` is in use."""
        names = self.get("OTEL_PROPAGATORS", "tracecontext,baggage").split(",")
        return name in [name.strip() for name in names]

    @property
    def is_disabled(self) -> bool:
        """True if OpenTelemetry is switched off altogether."""
        return self.get(_DISABLED).lower() == "true"

    @property
    def names_an_exporter(self) -> bool:
        """True if a variable says that OTLP is to be used, or where the collector is."""
        variables = [f"OTEL_EXPORTER_OTLP_{part}ENDPOINT" for part in ("", "TRACES_", "METRICS_")]
        chosen = [self.get(f"OTEL_{signal}_EXPORTER") for signal in ("TRACES", "METRICS")]
        return any(map(self.get, variables)) or any("otlp" in names for names in chosen)

    @property
    def other_protocol(self) -> str:
        """The protocol that the variables ask for, if it is not the one that there is; otherwise ""."""
        variables = [f"OTEL_EXPORTER_OTLP_{part}PROTOCOL" for part in ("TRACES_", "METRICS_", "")]
        asked = next(filter(None, map(self.get, variables)), _HTTP)
        return "" if asked == _HTTP else asked


def has_packages() -> bool:
    """Return whether OpenTelemetry's SDK and its OTLP exporter for HTTP are installed. They are not imported."""
    try:
        return all(find_spec(name) is not None for name in PACKAGES)
    except ModuleNotFoundError:  # a package around them is missing
        return False


def is_configured() -> bool:
    """Return whether the environment configures an exporter that can be used."""
    environment = Environment.of_process()
    return (
        environment.names_an_exporter
        and not environment.is_disabled
        and not environment.other_protocol
        and has_packages()
    )
