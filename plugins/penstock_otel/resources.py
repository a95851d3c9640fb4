"""The description of this service in all that is exported. This module loads OpenTelemetry's SDK."""

from __future__ import annotations

import os

from opentelemetry.sdk.resources import SERVICE_NAME, Resource


def resource_of(service: str) -> Resource:
    """Return the resource that the environment describes; ``service`` names it if the environment does not."""
    resource = Resource.create()
    is_named = os.environ.get("OTEL_SERVICE_NAME") or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return resource if is_named else resource.merge(Resource({SERVICE_NAME: service}))
