"""One plug-in: who has brought it, whether it takes part, and if not, why."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias

import msgspec

from penstock.hooks.setting_types import annotation_text, holds_secret, shown
from penstock.hooks.settings import PluginSettings, Resolved, fields_of, variable_of

OWN_DISTRIBUTION: Final = "penstock"

State: TypeAlias = Literal["on", "off", "replaced", "broken"]


@dataclass(eq=False, kw_only=True)
class Plugin:
    """One plug-in, whether it takes part or not.

    Attributes
    ----------
    name, distribution, version:
        What it is called, and who has brought it; the last two are "" for one of the app's own.
    state:
        ``on``, or why it does not take part.
    why:
        The same for a person; of a broken one, its error. "" while it is on.
    instance:
        Where its hooks are; None unless it takes part.
    kind:
        The class of its settings; None if it was not imported, so that nobody knows.
    resolved:
        Its settings, with where they come from; None if it has been given none.
    hooks:
        The names of those that it implements.
    """

    name: str
    distribution: str = ""
    version: str = ""
    state: State = "on"
    why: str = ""
    instance: Any = None
    kind: type[PluginSettings] | None = None
    resolved: Resolved[PluginSettings] | None = None
    hooks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        brought = f" of {self.distribution} {self.version}".rstrip() if self.distribution else " of the app"
        return f"plug-in {self.name!r}{brought}"

    @property
    def is_on(self) -> bool:
        """Whether it takes part."""
        return self.state == "on"

    @property
    def setting_names(self) -> list[str] | None:
        """What it can be told; None if nobody knows."""
        return None if self.kind is None else [field.encode_name for field in msgspec.structs.fields(self.kind)]

    @property
    def mend(self) -> str:
        """What an operator can do if it does not work."""
        if not self.distribution:
            return "mend it, or take it out of App(plugins=[...])"
        off = f"switch it off with {variable_of(self.name, 'enabled')}=false"
        return off if self.distribution == OWN_DISTRIBUTION else f"{off}, or uninstall {self.distribution}"

    def leave(self, state: State, why: str) -> None:
        """Take no part."""
        self.state, self.why, self.instance = state, why, None

    def describe(self) -> dict[str, Any]:
        """What there is to know about it, ready for JSON; nothing of its secrets."""
        return {
            "name": self.name,
            "distribution": self.distribution or None,
            "version": self.version or None,
            "state": self.state,
            "why": self.why or None,
            "hooks": self.hooks,
            "settings": self._described_settings(),
        }

    def _described_settings(self) -> list[dict[str, Any]] | None:
        if self.kind is None:
            return None
        fields = sorted(fields_of(self.name, self.kind).items(), key=lambda item: item[0] != "enabled")
        return [self._described(key, setting) for key, setting in fields]

    def _described(self, key: str, setting: msgspec.structs.FieldInfo) -> dict[str, Any]:
        default = None if setting.required else _default_of(setting)
        value, origin = default, "default"
        if self.resolved is not None:
            value = getattr(self.resolved.settings, setting.name)
            origin = self.resolved.origins.get(key, origin)
        return {
            "name": key,
            "type": annotation_text(setting.type),
            "is_required": setting.required,
            "is_secret": holds_secret(setting.type),
            "default": shown(default, setting.type),
            "value": shown(value, setting.type),
            "from": origin,
            "variable": variable_of(self.name, key),
        }


def _default_of(setting: msgspec.structs.FieldInfo) -> Any:
    made: Any = setting.default_factory
    return setting.default if made is msgspec.NODEFAULT else made()


def offered(offer: EntryPoint) -> Plugin:
    """The plug-in that a distribution offers by an entry point; nothing is imported."""
    distribution = offer.dist
    if distribution is None:
        return Plugin(name=offer.name)
    return Plugin(name=offer.name, distribution=distribution.name, version=distribution.version)


def name_of(plugin: Any) -> str:
    """What one of the app's own calls itself, or else the name of its module or class."""
    name = getattr(plugin, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(plugin, ModuleType) or inspect.isclass(plugin):
        return plugin.__name__.rpartition(".")[2]
    return type(plugin).__name__
