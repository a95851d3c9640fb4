"""The typed settings of plug-ins, from four sources; later ones override earlier ones.

1. the plug-in's own defaults, 2. ``App(settings={"auth": {...}})``, 3. ``[tool.penstock.auth]`` in a TOML file: the one
that ``PENSTOCK_CONFIG`` names, otherwise ``pyproject.toml`` in the current folder, 4. the environment:
``PENSTOCK_AUTH_KEYS_FILE``. Unknown settings are errors: a setting that is silently ignored is worse than none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from penstock.app import App
from penstock.errors import PluginError
from penstock.hooks.setting_types import accepted_words, holds_secret, parsed
from penstock.suggestions import closest, in_seconds, near_miss

PREFIX: Final = "PENSTOCK_"
CONFIG_VARIABLE: Final = "PENSTOCK_CONFIG"
ENGINE_VARIABLE: Final = "PENSTOCK_ENGINE_SOCKET"
"""The path of a shared engine's socket: the server sets it in its HTTP processes, if there are several."""
_SERVER_OPTIONS = """
    bind, body_timeout, certfile, compress, debug, docs, drain_timeout, grpc_host, grpc_port, gunicorn_config,
    header_timeout, host, http_workers, keyfile, log_format, log_level, max_body, max_unread, max_waiting,
    min_body_rate, pid_file, port, reload, root_path, socket_mode, spill_above, start_method, trusted_proxy
"""
SERVER_VARIABLES: Final = frozenset(
    {CONFIG_VARIABLE, ENGINE_VARIABLE, *(f"{PREFIX}{name.strip().upper()}" for name in _SERVER_OPTIONS.split(","))}
)
"""Variables that belong to the server, not to a plug-in."""
DEFAULT_FILE: Final = "pyproject.toml"
FROM_APP: Final = "App(settings=...)"
SHOWN_CHARACTERS: Final = 80

Secret: TypeAlias = Annotated[str, msgspec.Meta(extra={"secret": True})]
"""The type of a setting that is never displayed."""

# Kubernetes sets these in every container of a namespace with a service called "penstock", or "penstock-metrics".
_KUBERNETES = re.compile(r"PENSTOCK_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
_KUBERNETES_URL = re.compile(r"(tcp|udp|sctp)://.*")

Table: TypeAlias = Mapping[str, Any]


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base class of plug-in settings: one field for each setting, with its type and default.

    Parameters
    ----------
    enabled:
        False to switch the plug-in off.
    """

    enabled: bool = True

    def __repr__(self) -> str:
        # A traceback may show this, or a log line written by the plug-in.
        fields = ", ".join(
            f"{field.name}={'(secret)' if holds_secret(field.type) else repr(getattr(self, field.name))}"
            for field in msgspec.structs.fields(type(self))
        )
        return f"{type(self).__name__}({fields})"


SettingsT = TypeVar("SettingsT", bound=PluginSettings)


@dataclass(frozen=True)
class Resolved(Generic[SettingsT]):
    """A plug-in's settings, and the origin of each one that was set."""

    settings: SettingsT
    origins: Mapping[str, str]


class SettingValue(NamedTuple):
    """The value that a setting was set to, and its origin. From the environment it is always text."""

    value: Any
    origin: str
    is_text: bool = False


class Sources:
    """The sources of settings other than the plug-ins' own defaults.

    Parameters
    ----------
    app:
        The settings that the app was declared with, by plug-in.
    environ:
        The environment of the process.
    folder:
        The folder of ``pyproject.toml``. Default: the current one.

    Raises
    ------
    PluginError
        If the TOML file cannot be read, or a value is found where a table is expected.
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
            if name.startswith(PREFIX) and name not in SERVER_VARIABLES and not _is_service_url(name, value)
        }

    def is_switched_off(self, name: str) -> bool:
        """Return whether the plug-in of that name is switched off. It need not have been imported for this.

        Raises
        ------
        PluginError
            If its setting ``enabled`` is not a boolean.
        """
        enabled = self._values_of(name, ["enabled"]).get("enabled")
        return enabled is not None and not _converted(name, "enabled", bool, enabled)

    def resolve(self, name: str, kind: type[SettingsT], note: str = "") -> Resolved[SettingsT]:
        """Return the settings of a plug-in.

        Parameters
        ----------
        name:
            The name of the plug-in.
        kind:
            The class of its settings.
        note:
            Appended to the error for an unknown setting.

        Raises
        ------
        PluginError
            If a setting is unknown, has a value of the wrong type, or is required and missing.
        """
        fields = fields_of(name, kind)
        self._refuse_unknown_keys(name, fields, note)
        found = self._values_of(name, fields)
        values = {fields[key].name: _converted(name, key, fields[key].type, value) for key, value in found.items()}
        for key, field in fields.items():
            if field.required and field.name not in values:
                raise PluginError(f"plug-in {name!r} requires the setting {key!r}; set {variable_of(name, key)}")
        try:
            settings = kind(**values)
        except (TypeError, ValueError) as error:
            raise PluginError(f"the settings of plug-in {name!r} are invalid: {error}") from None
        return Resolved(settings, {key: value.origin for key, value in found.items()})

    def _values_of(self, name: str, keys: Iterable[str]) -> dict[str, SettingValue]:
        """Return the values that these settings of a plug-in were set to; later sources override earlier ones."""
        values: dict[str, SettingValue] = {}
        for key in keys:
            for origin, tables in self._tables:
                table = tables.get(name, {})
                if key in table:
                    values[key] = SettingValue(table[key], origin)
            variable = variable_of(name, key)
            if variable in self._environ:
                values[key] = SettingValue(self._environ[variable], variable, is_text=True)
        return values

    def _refuse_unknown_keys(self, name: str, known: Iterable[str], note: str) -> None:
        for origin, tables in self._tables:
            for key in tables.get(name, {}):
                if key not in known:
                    raise _unknown(f"plug-in {name!r} has no setting {key!r} ({origin})", key, known, note)

    def unknown(self, plugins: Mapping[str, Iterable[str] | None]) -> Iterator[PluginError]:
        """Yield an error for each setting that belongs to no plug-in, or to two.

        Parameters
        ----------
        plugins:
            The names of all plug-ins, each with the names of its settings; None if these are not known.
        """
        for origin, tables in self._tables:
            for name in tables:
                if name not in plugins:
                    yield _unknown(f"there are settings for an unknown plug-in {name!r} ({origin})", name, plugins)
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
                yield _unknown_variable(variable, [*known, *SERVER_VARIABLES])


def fields_of(name: str, kind: Any) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the fields of a plug-in's settings, by the names that an operator uses.

    Raises
    ------
    PluginError
        If ``kind`` is not a class of settings, or has a field of a type that cannot be read.
    """
    if not (isinstance(kind, type) and issubclass(kind, PluginSettings)):
        raise PluginError(
            f"the Settings of plug-in {name!r} are not a subclass of penstock.hooks.PluginSettings; "
            "write `class Settings(PluginSettings, frozen=True)`"
        )
    if not kind.__struct_config__.frozen:
        raise PluginError(
            f"the Settings of plug-in {name!r} can be changed; write `class Settings(PluginSettings, frozen=True)`"
        )
    try:
        msgspec.inspect.type_info(kind)
        return {field.encode_name: field for field in msgspec.structs.fields(kind)}
    except (TypeError, NameError) as error:
        raise PluginError(f"the Settings of plug-in {name!r} have a field that cannot be read: {error}") from None


def variable_of(name: str, key: str) -> str:
    """Return the name of the environment variable for a setting of a plug-in."""
    return f"{PREFIX}{_in_capitals(name)}_{_in_capitals(key)}"


def _in_capitals(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _is_service_url(name: str, value: str) -> bool:
    """Return whether this is Kubernetes' ``..._PORT=tcp://10.0.0.1:80``, even if a plug-in has a setting ``port``."""
    return bool(_KUBERNETES.fullmatch(name) and _KUBERNETES_URL.fullmatch(value))


def _unknown(sentence: str, name: str, known: Iterable[str], note: str = "") -> PluginError:
    return PluginError("; ".join(filter(None, (sentence, near_miss(name, known), note))))


def _unknown_variable(variable: str, known: Iterable[str]) -> PluginError:
    # Compared without the common prefix, which would make all of them look similar.
    match = closest(variable.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known])
    fix = f"did you mean {PREFIX}{match}?" if match else "`penstock plugins` lists them all"
    return PluginError(f"no plug-in has a setting for the environment variable {variable}; {fix}")


def _read_file(environ: Mapping[str, str], folder: Path) -> tuple[str, Mapping[str, Any]]:
    named = environ.get(CONFIG_VARIABLE)
    path = Path(named) if named else folder / DEFAULT_FILE
    if not named and not path.is_file():
        return str(path), {}
    by = f" (named by --config or {CONFIG_VARIABLE})" if named else ""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"the settings in {path}{by} cannot be read: {error}") from None
    tool: Any = content.get("tool", {})
    table = tool.get("penstock") if isinstance(tool, dict) else tool
    if table is None:
        if named:  # an operator who names a file expects it to be used
            raise PluginError(f"{path}{by} has no table [tool.penstock.NAME] with the settings of a plug-in; add one")
        return str(path), {}
    if not isinstance(table, dict):
        raise PluginError(f"tool.penstock in {path} must be a table, with a table for each plug-in")
    return str(path), table


def _converted(plugin: str, key: str, kind: Any, setting: SettingValue) -> Any:
    try:
        if setting.is_text:
            return msgspec.convert(parsed(setting.value, kind), kind, strict=False)
        return msgspec.convert(setting.value, kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        place = f"setting {key!r} of plug-in {plugin!r}"
        if holds_secret(kind):  # msgspec's message about a wrong member of an enumeration repeats the value
            raise PluginError(f"{place} ({setting.origin}): invalid value") from None
        shown = repr(setting.value)[:SHOWN_CHARACTERS]
        advice = in_seconds(setting.value) or accepted_words(kind)
        raise PluginError(f"{place} = {shown} ({setting.origin}): {error}{advice}") from None


def require_endpoints(app: App, names: Iterable[str], *, plugin: str, setting: str) -> None:
    """Check that a plug-in's setting names only endpoints that exist; for the plug-in's ``check``.

    Parameters
    ----------
    app:
        The app.
    names:
        The names of endpoints in the setting.
    plugin, setting:
        The names of the plug-in and of the setting, for the error.

    Raises
    ------
    PluginError
        For the first unknown name, with a suggestion.
    """
    known = [endpoint.name for endpoint in app.endpoints]
    for name in names:
        if name not in known:
            raise PluginError(
                f"setting {setting!r} of plug-in {plugin!r} names endpoint {name!r}, which does not exist; "
                f"{near_miss(name, known)}"
            )
