"""The settings of plug-ins: typed, from four places, the later one winning.

1. the plug-in's own defaults, 2. ``App(settings={"auth": {...}})``, 3. ``[tool.penstock.auth]`` in a TOML file: the one
that ``PENSTOCK_CONFIG`` names, or else ``pyproject.toml`` in the current folder, 4. the environment:
``PENSTOCK_AUTH_KEYS_FILE``. What no plug-in knows is refused: a setting that is silently ignored is worse than none.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from penstock.app import App
from penstock.errors import PluginError
from penstock.hooks.setting_types import holds_secret, parsed
from penstock.suggestions import near_miss

PREFIX: Final = "PENSTOCK_"
CONFIG_VARIABLE: Final = "PENSTOCK_CONFIG"
DEFAULT_FILE: Final = "pyproject.toml"
FROM_APP: Final = "App(settings=...)"
SHOWN_CHARACTERS: Final = 80

Secret: TypeAlias = Annotated[str, msgspec.Meta(extra={"secret": True})]
"""A setting that is never shown."""

# Kubernetes puts these into every container of a namespace that has a service called "penstock", or "penstock-metrics".
_KUBERNETES = re.compile(r"PENSTOCK_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_KUBERNETES_URL = re.compile(r"(tcp|udp|sctp)://.*")

Table: TypeAlias = Mapping[str, Any]


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The root of every plug-in's settings; a field each, with its type and its default.

    Parameters
    ----------
    enabled:
        Whether the plug-in takes part at all.
    """

    enabled: bool = True

    def __repr__(self) -> str:
        # A traceback, or a log line of a plug-in's own, may well show it.
        fields = ", ".join(
            f"{field.name}={'(secret)' if holds_secret(field.type) else repr(getattr(self, field.name))}"
            for field in msgspec.structs.fields(type(self))
        )
        return f"{type(self).__name__}({fields})"


SettingsT = TypeVar("SettingsT", bound=PluginSettings)


@dataclass(frozen=True)
class Resolved(Generic[SettingsT]):
    """A plug-in's settings, and where each that was given comes from."""

    settings: SettingsT
    origins: Mapping[str, str]


class Given(NamedTuple):
    """A value for a setting, and where it comes from. One from the environment knows no type but text."""

    value: Any
    origin: str
    is_text: bool = False


class Sources:
    """Where settings come from, but for the plug-ins' own defaults.

    Parameters
    ----------
    app:
        What the app was declared with.
    environ:
        The environment of the process.
    folder:
        Where ``pyproject.toml`` is looked for. Default: the current one.

    Raises
    ------
    PluginError
        If the TOML file cannot be read, or there is something else than tables where tables must be.
    """

    def __init__(self, app: Mapping[str, Table], environ: Mapping[str, str], folder: Path | None = None) -> None:
        path, in_file = _read_file(environ, folder or Path())
        self._tables: list[tuple[str, Mapping[str, Table]]] = []
        for origin, tables in ((FROM_APP, app), (f"[tool.penstock] in {path}", in_file)):
            for name, table in tables.items():
                if not isinstance(table, Mapping):
                    raise PluginError(f"the settings of plug-in {name!r} must be a table, not {table!r} ({origin})")
            self._tables.append((origin, tables))
        self._environ = {
            name: value
            for name, value in environ.items()
            if name.startswith(PREFIX) and name != CONFIG_VARIABLE and not _is_service_url(name, value)
        }

    def is_switched_off(self, name: str) -> bool:
        """Whether somebody says so, before the plug-in is even imported.

        Raises
        ------
        PluginError
            If what somebody says is neither yes nor no.
        """
        given = self._given(name, ["enabled"]).get("enabled")
        return given is not None and not _converted(name, "enabled", bool, given)

    def resolve(self, name: str, kind: type[SettingsT], note: str = "") -> Resolved[SettingsT]:
        """The settings of the plug-in of that name.

        Parameters
        ----------
        name:
            What the plug-in is called.
        kind:
            The class of its settings.
        note:
            What to add when a setting is refused that it does not have.

        Raises
        ------
        PluginError
            For a setting that it does not have, a value of another type, and one that is missing.
        """
        fields = fields_of(name, kind)
        self._refuse_unknown_keys(name, fields, note)
        given = self._given(name, fields)
        values = {fields[key].name: _converted(name, key, fields[key].type, value) for key, value in given.items()}
        for key, field in fields.items():
            if field.required and field.name not in values:
                raise PluginError(f"plug-in {name!r} must be told {key!r}; set {variable_of(name, key)}")
        try:
            settings = kind(**values)
        except (TypeError, ValueError) as error:
            raise PluginError(f"the settings of plug-in {name!r} do not fit: {error}") from None
        return Resolved(settings, {key: value.origin for key, value in given.items()})

    def _given(self, name: str, keys: Iterable[str]) -> dict[str, Given]:
        """What is given for these settings; of several values the strongest."""
        given: dict[str, Given] = {}
        for key in keys:
            for origin, tables in self._tables:
                table = tables.get(name, {})
                if key in table:
                    given[key] = Given(table[key], origin)
            variable = variable_of(name, key)
            if variable in self._environ:
                given[key] = Given(self._environ[variable], variable, is_text=True)
        return given

    def _refuse_unknown_keys(self, name: str, known: Iterable[str], note: str) -> None:
        for origin, tables in self._tables:
            for key in tables.get(name, {}):
                if key not in known:
                    raise _unknown(f"plug-in {name!r} has no setting {key!r} ({origin})", key, known, note)

    def unknown(self, plugins: Mapping[str, Iterable[str] | None]) -> Iterator[PluginError]:
        """Look for what belongs to nobody.

        Parameters
        ----------
        plugins:
            The names of all plug-ins, each with the names of its settings; None where those are not known.
        """
        for origin, tables in self._tables:
            for name in tables:
                if name not in plugins:
                    yield _unknown(f"there is no plug-in {name!r} to set anything of ({origin})", name, plugins)
        known: dict[str, str] = {}
        for name, keys in plugins.items():
            for key in keys or ():
                variable = variable_of(name, key)
                if variable in self._environ and variable in known:
                    yield PluginError(
                        f"the environment variable {variable} is a setting of plug-in {known[variable]!r} and of "
                        f"plug-in {name!r}; set both in a TOML file instead"
                    )
                known[variable] = name
        open_ended = tuple(variable_of(name, "") for name, keys in plugins.items() if keys is None)
        for variable in self._environ:
            if variable not in known and not variable.startswith(open_ended) and not _KUBERNETES.fullmatch(variable):
                yield _unknown_variable(variable, known)


def fields_of(name: str, kind: Any) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a plug-in's settings, by the names that an operator uses.

    Raises
    ------
    PluginError
        If it is no class of settings, or a field of it is of a type that cannot be read.
    """
    if not (isinstance(kind, type) and issubclass(kind, PluginSettings)):
        raise PluginError(f"the Settings of plug-in {name!r} are no subclass of penstock.hooks.PluginSettings")
    try:
        msgspec.inspect.type_info(kind)
        return {field.encode_name: field for field in msgspec.structs.fields(kind)}
    except (TypeError, NameError) as error:
        raise PluginError(f"the Settings of plug-in {name!r} have a field that cannot be read: {error}") from None


def variable_of(name: str, key: str) -> str:
    """The environment variable of a setting of the plug-in of that name."""
    return f"{PREFIX}{_in_capitals(name)}_{_in_capitals(key)}"


def _in_capitals(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _is_service_url(name: str, value: str) -> bool:
    """Whether it is Kubernetes' ``..._PORT=tcp://10.0.0.1:80``, even where a plug-in has a setting ``port``."""
    return bool(_KUBERNETES.fullmatch(name) and _KUBERNETES_URL.fullmatch(value))


def _unknown(sentence: str, name: str, known: Iterable[str], note: str = "") -> PluginError:
    return PluginError("; ".join(filter(None, (sentence, near_miss(name, known), note))))


def _unknown_variable(variable: str, known: Iterable[str]) -> PluginError:
    # Without what all of them have in common, which would make them all alike.
    close = difflib.get_close_matches(variable.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], n=1)
    mend = f"did you mean {PREFIX}{close[0]}?" if close else "`penstock plugins` lists them all"
    return PluginError(f"no plug-in has a setting for the environment variable {variable}; {mend}")


def _read_file(environ: Mapping[str, str], folder: Path) -> tuple[str, Mapping[str, Any]]:
    named = environ.get(CONFIG_VARIABLE)
    path = Path(named) if named else folder / DEFAULT_FILE
    if not named and not path.is_file():
        return str(path), {}
    by = f" (named by {CONFIG_VARIABLE})" if named else ""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"the settings in {path}{by} cannot be read: {error}") from None
    tool: Any = content.get("tool", {})
    table = tool.get("penstock") if isinstance(tool, dict) else tool
    if table is None:
        if named:  # whoever names a file means it
            raise PluginError(f"{path}{by} has no table [tool.penstock.NAME] with the settings of a plug-in; add one")
        return str(path), {}
    if not isinstance(table, dict):
        raise PluginError(f"tool.penstock in {path} must be a table, with a table for each plug-in")
    return str(path), table


def _converted(plugin: str, key: str, kind: Any, given: Given) -> Any:
    try:
        if given.is_text:
            return msgspec.convert(parsed(given.value, kind), kind, strict=False)
        return msgspec.convert(given.value, kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        # What msgspec says of a wrong member of an enumeration repeats the value.
        reason = "the value does not fit" if holds_secret(kind) else str(error)
        shown = "" if holds_secret(kind) else f" = {repr(given.value)[:SHOWN_CHARACTERS]}"
        raise PluginError(f"setting {key!r} of plug-in {plugin!r}{shown} ({given.origin}): {reason}") from None


def require_endpoints(app: App, names: Iterable[str], *, plugin: str, setting: str) -> None:
    """See that a plug-in was told of no endpoint that is not there; for its ``check``.

    Parameters
    ----------
    app:
        What is served.
    names:
        Of endpoints, as they were set.
    plugin, setting:
        Where.

    Raises
    ------
    PluginError
        For the first that is unknown, with what was probably meant.
    """
    known = [endpoint.name for endpoint in app.endpoints]
    for name in names:
        if name not in known:
            raise PluginError(
                f"setting {setting!r} of plug-in {plugin!r} names endpoint {name!r}, which is not there; "
                f"{near_miss(name, known)}"
            )
