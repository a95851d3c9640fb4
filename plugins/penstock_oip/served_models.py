"""The models of an app, by name and version, as requests find them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from penstock import Tensor
from penstock.errors import DeclarationError, NotFound
from penstock.hooks import Endpoint, near_miss
from penstock_oip.handler_inputs import plain_parameters, required_tensors
from penstock_oip.infer_offers import Infer

VERSIONS = "/versions/"


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedModel:
    """One version of a model: an endpoint in terms of the protocol."""

    name: str
    version: str
    platform: str
    endpoint: Endpoint
    inputs: Mapping[str, Tensor]
    """Its inputs by name."""
    required: frozenset[str]
    """The names of those that every request has to have."""
    outputs: Mapping[str, tuple[str, Tensor]]
    """Its outputs by the names that clients know: the name of the result, and its tensor."""
    plain: Mapping[str, bool]
    """The parameters of the handler that are read from those of a request; True for one that is required."""
    most_items: int
    """The largest first dimension of a request whose tensors are joined with those of others; 0 if they are not."""


def served_model(endpoint: Endpoint, offer: Infer) -> ServedModel:
    """Return the model that an endpoint is offered as."""
    tensors = endpoint.codec.tensors
    names = offer.outputs or list(tensors.results)
    batching = endpoint.batching
    return ServedModel(
        name=offer.name or endpoint.name,
        version=offer.version,
        platform=offer.platform,
        endpoint=endpoint,
        inputs=tensors.inputs,
        required=required_tensors(endpoint),
        outputs=dict(zip(names, tensors.results.items(), strict=True)),
        plain=plain_parameters(endpoint),
        most_items=batching.max_size if batching is not None and tensors.are_joined else 0,
    )


class ServedModels:
    """The models of an app.

    Parameters
    ----------
    offers:
        The offers, each with its endpoint.

    Raises
    ------
    DeclarationError
        If two of them have one name and one version.
    """

    def __init__(self, offers: Iterable[tuple[Endpoint, Infer]]) -> None:
        self._by_name: dict[str, dict[str, ServedModel]] = {}
        for endpoint, offer in offers:
            self._add(served_model(endpoint, offer))

    def _add(self, model: ServedModel) -> None:
        versions = self._by_name.setdefault(model.name, {})
        other = versions.setdefault(model.version, model)
        if other is not model:
            raise DeclarationError(
                f"endpoint {model.endpoint.name!r}: the model {model.name!r} has the version {model.version!r} "
                f"already, by endpoint {other.endpoint.name!r}; give one of them another name= or version="
            )

    @property
    def all(self) -> list[ServedModel]:
        """All versions of all models."""
        return [model for versions in self._by_name.values() for model in versions.values()]

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return list(self._by_name)

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, the lowest first."""
        return sorted(self._by_name[name], key=_order)

    def named(self, path: str) -> ServedModel:
        """Return the model that a part of a path names: ``name``, or ``name/versions/version``.

        Raises
        ------
        NotFound
            If there is no such model, or no such version.
        """
        if path in self._by_name:
            return self.newest(path)
        name, separator, version = path.rpartition(VERSIONS)
        return self.find(name, version) if separator else self.find(path)

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """Return a version of a model; the highest if none is named.

        Raises
        ------
        NotFound
            If there is no such model, or no such version.
        """
        versions = self._by_name.get(name)
        if versions is None:
            raise NotFound(f"There is no model {name[:200]!r}; {near_miss(name[:200], self._by_name)}")
        if version is None:
            return self.newest(name)
        found = versions.get(version)
        if found is None:
            known = ", ".join(self.versions(name))
            raise NotFound(f"The model {name!r} has no version {version[:100]!r}; it has {known}")
        return found

    def newest(self, name: str) -> ServedModel:
        """Return the highest version of a model that exists."""
        return self._by_name[name][self.versions(name)[-1]]


def _order(version: str) -> tuple[bool, int, str]:
    return version.isdigit(), int(version) if version.isdigit() else 0, version
