"""The settings of plug-ins: typed, from four places, the later one winning.

1. the plug-in's own defaults, 2. ``App(settings={"auth": {...}})``, 3. ``[tool.penstock.auth]`` in a TOML file: the one
that ``PENSTOCK_CONFIG`` names, or else ``pyproject.toml`` in the current folder, 4. the environment:
``PENSTOCK_AUTH_KEYS_FILE``. What no plug-in knows is refused: a setting that is silently ignored is worse than none.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from penstock.errors import PluginError

PREFIX: Final = "PENSTOCK_"
CONFIG_VARIABLE: Final = "PENSTOCK_CONFIG"
DEFAULT_FILE: Final = "pyproject.toml"

Secret: TypeAlias = Annotated[str, msgspec.Meta(extra={"secret": True})]
"""A setting that is never shown."""

# Kubernetes puts these into every container of a namespace that has a service called "penstock".
_KUBERNETES = re.compile(r"PENSTOCK_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")

Table: TypeAlias = Mapping[str, Any]


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The root of every plug-in's settings; a field each, with its type and its default.

    Parameters
    ----------
    enabled:
        Whether the plug-in takes part at all.
    """

    enabled: bool = True


SettingsT = TypeVar("SettingsT", bound=PluginSettings)


@dataclass(frozen=True)
class Resolved(Generic[SettingsT]):
    """A plug-in's settings, and where each that was given comes from."""

    settings: SettingsT
    origins: Mapping[str, str]


class Sources:
    """Where settings come from, but for the plug-ins' own defaults.

    Parameters
    ----------
    app:
        What the app was declared with.
    environ:
        The environment of the process.
    folder:
        Where ``pyproject.toml`` is looked for.

    Raises
    ------
    PluginError
        If the TOML file cannot be read.
    """

    def __init__(self, app: Mapping[str, Table], environ: Mapping[str, str], folder: Path | None = None) -> None:
        self._app = app
        self._file_name, self._file = _read_file(environ, folder or Path())
        self._environ = {
            name: value
            for name, value in environ.items()
            if name.startswith(PREFIX) and name != CONFIG_VARIABLE and not _KUBERNETES.fullmatch(name)
        }

    def is_switched_off(self, name: str) -> bool:
        """Whether somebody says so, before the plug-in is even imported."""
        given = self._given(name, ["enabled"])
        return bool(given) and not _converted(name, "enabled", bool, *given["enabled"])

    def resolve(self, name: str, kind: type[SettingsT]) -> Resolved[SettingsT]:
        """The settings of the plug-in of that name.

        Raises
        ------
        PluginError
            For a setting that it does not have, or a value of another type.
        """
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        given = self._given(name, fields)
        values = {key: _converted(name, key, fields[key].type, *value) for key, value in given.items()}
        try:
            settings = kind(**{fields[key].name: value for key, value in values.items()})
        except (TypeError, ValueError) as error:
            raise PluginError(f"the settings of plug-in {name!r} do not fit together: {error}") from None
        return Resolved(settings, {key: origin for key, (_, origin) in given.items()})

    def _given(self, name: str, known: Iterable[str]) -> dict[str, tuple[Any, str]]:
        """What is given for these settings, the strongest last; raises for others, unless only ``enabled`` is asked."""
        known = list(known)
        given: dict[str, tuple[Any, str]] = {}
        for table, origin in ((self._app, "App(settings=...)"), (self._file, self._file_name)):
            for key, value in _table_of(table, name, origin).items():
                if key in known:
                    given[key] = (value, origin)
                elif known != ["enabled"]:
                    raise _unknown(f"plug-in {name!r} has no setting {key!r} ({origin})", key, known)
        prefix = _variable(name)
        for key in known:
            variable = prefix + _variable_part(key)
            if variable in self._environ:
                given[key] = (_Text(self._environ[variable]), variable)
        return given

    def refuse_unknown(self, plugins: Mapping[str, Iterable[str] | None]) -> None:
        """Look for what belongs to nobody.

        Parameters
        ----------
        plugins:
            The names of all plug-ins, each with the names of its settings; None where those are not known.

        Raises
        ------
        PluginError
            If there is any.
        """
        for table, origin in ((self._app, "App(settings=...)"), (self._file, self._file_name)):
            for name in table:
                if name not in plugins:
                    raise _unknown(f"there is no plug-in {name!r} to set anything of ({origin})", name, plugins)
        known = {_variable(name) + _variable_part(key) for name, keys in plugins.items() for key in keys or ()}
        open_ended = tuple(_variable(name) for name, keys in plugins.items() if keys is None)
        for variable in self._environ:
            if variable not in known and not variable.startswith(open_ended):
                raise _unknown(f"no plug-in has a setting for the environment variable {variable}", variable, known)


class _Text(str):
    """A value from the environment, which knows no other types."""

    __slots__ = ()


def _variable(name: str) -> str:
    return f"{PREFIX}{_variable_part(name)}_"


def _variable_part(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _unknown(sentence: str, name: str, known: Iterable[str]) -> PluginError:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"
    return PluginError(f"{sentence}; {mend}")


def _read_file(environ: Mapping[str, str], folder: Path) -> tuple[str, Table]:
    named = environ.get(CONFIG_VARIABLE)
    path = Path(named) if named else folder / DEFAULT_FILE
    if not named and not path.is_file():
        return str(path), {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"the settings in {path} cannot be read: {error}") from None
    table = content.get("tool", {}).get("penstock", {})
    if not isinstance(table, dict):
        raise PluginError(f"{path}: tool.penstock must be a table, with a table for each plug-in")
    return f"[tool.penstock] in {path}", table


def _table_of(tables: Mapping[str, Table], name: str, origin: str) -> Table:
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise PluginError(f"the settings of plug-in {name!r} must be a table, not {table!r} ({origin})")
    return table


def _converted(plugin: str, key: str, kind: Any, value: Any, origin: str) -> Any:
    try:
        if isinstance(value, _Text):
            return msgspec.convert(_parsed(value, kind), kind, strict=False)
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        shown = "" if is_secret(kind) else f" = {str(value)[:80]!r}"
        raise PluginError(f"setting {key!r} of plug-in {plugin!r}{shown} ({origin}): {error}") from None


def _parsed(text: str, kind: Any) -> Any:
    """Lists may be written with commas, and everything else that has parts in JSON."""
    if text[:1] in ("[", "{"):
        return msgspec.json.decode(text)
    collections = (msgspec.inspect.ListType, msgspec.inspect.SetType, msgspec.inspect.FrozenSetType)
    if any(isinstance(part, (*collections, msgspec.inspect.VarTupleType)) for part in _parts(kind)):
        return [item.strip() for item in text.split(",") if item.strip()]
    return str(text)


def _parts(kind: Any) -> tuple[msgspec.inspect.Type, ...]:
    info = msgspec.inspect.type_info(kind)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return tuple(info.types) if isinstance(info, msgspec.inspect.UnionType) else (info,)


def is_secret(kind: Any) -> bool:
    """Whether a setting of this type must not be shown."""
    infos = [msgspec.inspect.type_info(kind)]
    if isinstance(infos[0], msgspec.inspect.UnionType):
        infos = list(infos[0].types)
    return any(isinstance(info, msgspec.inspect.Metadata) and bool((info.extra or {}).get("secret")) for info in infos)
