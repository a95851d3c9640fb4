"""A router that takes paths literally."""

from __future__ import annotations

from typing import Any

from falcon.routing import CompiledRouter


class ExactRouter(CompiledRouter):
    """Falcon's own router, but a path with too many leading slashes is not that of a resource.

    Falcon ignores them, so ``//-/status`` would be served, although a proxy in front that protects ``/-/status`` does
    not see that path in it. Paths without parameters are looked up in a dictionary.
    """

    def __init__(self) -> None:
        super().__init__()
        self._without_parameters: dict[str, tuple[Any, Any, str]] = {}

    def add_route(self, uri_template: str, resource: object, **options: Any) -> None:
        """Add a resource, as Falcon's router does."""
        self._without_parameters.clear()
        super().add_route(uri_template, resource, **options)

    def find(self, uri: str, req: Any = None) -> tuple[Any, Any, dict[str, Any], str] | None:
        """Return the resource of a path, its responders, its parameters and its template; None if there is none."""
        known = self._without_parameters.get(uri)
        if known is not None:
            return known[0], known[1], {}, known[2]
        if uri[1:2] == "/":
            return None
        found: Any = super().find(uri, req)
        if found is not None and not found[2]:
            resource, responders, _, template = found
            self._without_parameters[uri] = resource, responders, template
        return found  # type: ignore[no-any-return]
