"""One plug-in: its origin, its state, and the reason if it is not in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from penstock.errors import DeclarationError, PluginError
from penstock.hooks.setting_types import annotation_text, holds_secret, shown
from penstock.hooks.settings import PluginSettings, Resolved, fields_of, variable_of

OWN_DISTRIBUTION: Final = "penstock"

State: TypeAlias = Literal["on", "off", "replaced", "broken"]

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class Plugin:
    """One plug-in, in use or not.

    Attributes
    ----------
    name, distribution, version:
        Its name, and the distribution that offers it; the last two are "" for a plug-in of the app.
    state:
        ``on`` if the plug-in is in use, otherwise the reason why not.
    why:
        The reason in words; for a broken plug-in, its error. "" while it is on.
    instance:
        The object or module that has its hooks; None unless it is in use.
    kind:
        The class of its settings; None if the plug-in was not imported.
    resolved:
        Its settings with their origins; None if they were not read.
    hooks:
        The names of the hooks that it implements.
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
        origin = f"{self.distribution} {self.version}".rstrip() if self.distribution else "the app"
        return f"plug-in {self.name!r} of {origin}"

    @property
    def is_on(self) -> bool:
        """True if the plug-in is in use."""
        return self.state == "on"

    @property
    def setting_names(self) -> list[str] | None:
        """The names of its settings; None if they are not known."""
        return None if self.kind is None else [field.encode_name for field in msgspec.structs.fields(self.kind)]

    @property
    def fix(self) -> str:
        """The steps that an operator can take if the plug-in does not work."""
        if not self.distribution:
            return "fix it, or remove it from App(plugins=[...])"
        off = f"switch it off with {variable_of(self.name, 'enabled')}=false"
        return off if self.distribution == OWN_DISTRIBUTION else f"{off}, or uninstall {self.distribution}"

    def leave(self, state: State, why: str) -> None:
        """Take the plug-in out of use."""
        self.state, self.why, self.instance = state, why, None

    def call(self, action: Callable[[], T], *, failure: str) -> T:
        """Call ``action`` on behalf of the plug-in, at start-up.

        Raises
        ------
        PluginError
            If it raises. The message begins with ``failure``; it names the cause and the fix.
        DeclarationError
            As it is, if that is what it raises: the mistake is in the app, not in the plug-in.
        """
        try:
            return action()
        except PluginError as error:
            raise PluginError(f"{failure}: {error}") from error.__cause__
        except DeclarationError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit() in a plug-in is a failure like any other
            raise PluginError(f"{failure}: {type(error).__name__}: {error}; {self.fix}") from error

    def describe(self) -> dict[str, Any]:
        """Return all that is known about the plug-in, ready for JSON and without its secrets."""
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
    new_default: Any = setting.default_factory
    return setting.default if new_default is msgspec.NODEFAULT else new_default()
