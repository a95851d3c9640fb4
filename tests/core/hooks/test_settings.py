"""Settings of plug-ins: their sources, the conversion of their values, and the errors for wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from penstock.errors import PluginError
from penstock.hooks import PluginSettings, Secret
from penstock.hooks.setting_types import annotation_text, shown
from penstock.hooks.settings import Sources


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    secret: Secret = ""


class Everything(PluginSettings, frozen=True):
    """One setting of each kind."""

    rate: float = 1.0
    count: int = 3
    name: str = "penstock"
    mode: Literal["fast", "safe"] = "safe"
    limit: Annotated[float, msgspec.Meta(gt=0)] | None = None
    scopes: tuple[str, ...] = ()
    sizes: list[int] = msgspec.field(default_factory=list)
    limits: dict[str, float] = msgspec.field(default_factory=dict)
    pair: tuple[int, str] | None = None
    label: str | None = "a"
    key: Secret | None = "k"
    keys: dict[str, Key] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count > 100:
            raise ValueError("count must be at most 100, or rate 0; lower it")


class Needy(PluginSettings, frozen=True, kw_only=True):
    url: str


def resolve(
    app: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Everything:
    """Return the settings of the plug-in "every"."""
    tables = {} if app is None else {"every": app}
    return Sources(tables, environ or {}, folder).resolve("every", Everything).settings


def toml(folder: Path, text: str, name: str = "pyproject.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


# ---- sources


def test_each_source_overrides_those_before_it(tmp_path: Path) -> None:
    """First the defaults, then the app, the file and the environment; the origin of each value is known."""
    toml(tmp_path, "[tool.penstock.every]\ncount = 12\nname = 'file'\nrate = 2")
    app = {"every": {"count": 11, "name": "app", "rate": 1.5, "sizes": [1]}}
    sources = Sources(app, {"PENSTOCK_EVERY_COUNT": "13", "PENSTOCK_OTHER_COUNT": "14", "HOME": "x"}, tmp_path)
    resolved = sources.resolve("every", Everything)
    settings = resolved.settings
    assert (settings.count, settings.name, settings.rate, settings.sizes, settings.mode) == (
        13,
        "file",
        2.0,
        [1],
        "safe",
    )
    in_file = f"[tool.penstock] in {tmp_path}/pyproject.toml"
    expected = {"count": "PENSTOCK_EVERY_COUNT", "name": in_file, "rate": in_file, "sizes": "App(settings=...)"}
    assert resolved.origins == expected


def test_the_file_may_be_named(tmp_path: Path) -> None:
    """PENSTOCK_CONFIG names a file to be read instead of pyproject.toml in the folder."""
    toml(tmp_path, "[tool.penstock.every]\ncount = 1")
    named = toml(tmp_path, "[tool.penstock.every]\ncount = 2", "other.toml") / "other.toml"
    assert resolve(environ={"PENSTOCK_CONFIG": str(named)}, folder=tmp_path).count == 2
    assert resolve(folder=tmp_path).count == 1


def test_a_folder_without_a_file_is_fine(tmp_path: Path) -> None:
    """So is a pyproject.toml without settings for Penstock."""
    assert resolve(folder=tmp_path) == Everything()
    assert resolve(folder=toml(tmp_path, "[project]\nname = 'x'")) == Everything()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[tool.penstock", "cannot be read: "),
        ("[tool]\npenstock = 3", "tool.penstock in .* must be a table"),
        ("tool = 3", "tool.penstock in .* must be a table"),
        (
            "[tool.penstock]\nevery = 3",
            r"the settings of plug-in 'every' must be a table, not 3 \(\[tool.penstock\] in ",
        ),
        ("name = '\udc80'", "cannot be read"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """The error has the name of the file. Silently ignored settings would be worse."""
    (tmp_path / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PluginError, match=complaint) as raised:
        Sources({}, {}, tmp_path)
    assert "pyproject.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "complaint"), [(None, "No such file"), ("[project]", r"no table \[tool.penstock.NAME\]")]
)
def test_a_named_file_must_exist_and_have_settings(tmp_path: Path, text: str | None, complaint: str) -> None:
    """An operator who names a file expects it to be used; the error has the variable that names it."""
    path = tmp_path / "it.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PluginError, match=f"it.toml .named by --config or PENSTOCK_CONFIG.*{complaint}"):
        Sources({}, {"PENSTOCK_CONFIG": str(path)}, tmp_path)


# ---- conversion


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("enabled", "true", True),
        ("enabled", "0", False),
        ("rate", "2", 2.0),
        ("rate", "2.5", 2.5),
        ("count", "7", 7),
        ("name", "{request} [x]", "{request} [x]"),
        ("name", "", ""),
        ("mode", "fast", "fast"),
        ("limit", "0.5", 0.5),
        ("limit", "null", None),
        ("label", "null", None),
        ("label", "none", "none"),
        ("key", "null", None),
        ("name", "null", "null"),
        ("scopes", "read, write,", ("read", "write")),
        ("scopes", '["a,b", "c"]', ("a,b", "c")),
        ("scopes", "", ()),
        ("sizes", "1,2,3", [1, 2, 3]),
        ("limits", '{"a": 1, "b": 2.5}', {"a": 1.0, "b": 2.5}),
        ("pair", "1,x", (1, "x")),
        ("pair", "null", None),
        ("key", "s3cret", "s3cret"),
        ("keys", '{"ci": {"name": "CI"}}', {"ci": Key("CI")}),
    ],
)
def test_text_of_the_environment_is_read_as_the_type_of_the_setting(key: str, text: str, value: object) -> None:
    """Lists are separated by commas or written in JSON, tables in JSON; numbers and booleans are written plainly."""
    assert getattr(resolve(environ={f"PENSTOCK_EVERY_{key.upper()}": text}), key) == value


def test_values_of_the_app_and_the_file_keep_their_type(tmp_path: Path) -> None:
    """These sources have types, so text is not converted to a number."""
    assert resolve({"keys": {"ci": {"name": "CI"}}, "scopes": ["a"]}).keys["ci"].name == "CI"
    with pytest.raises(PluginError, match="Expected `int`, got `str`"):
        resolve({"count": "7"})
    with pytest.raises(PluginError, match="Expected `int`, got `str`"):
        resolve(folder=toml(tmp_path, "[tool.penstock.every]\ncount = '7'"))


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("count", "many", r"setting 'count' of plug-in 'every' = 'many' \(PENSTOCK_EVERY_COUNT\): Expected `int`"),
        ("enabled", "yes", "Expected `bool`, got `str`; write true or false"),
        ("mode", "quick", "'mode'.*quick.*; write fast or safe"),
        ("limit", "0", "> 0"),
        ("limit", "30s", "; give seconds: 30"),
        ("limits", "a=1", "Expected `object`"),
        ("limits", '{"a": ', "'limits'.*truncated"),
        ("sizes", "1,two", r"Expected `int`.*\$\[1\]"),
        ("keys", '{"ci": {"nam": "CI"}}', "'keys'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(key: str, text: str, complaint: str) -> None:
    """The error has the setting, the plug-in, the origin and the expected type."""
    with pytest.raises(PluginError, match=complaint):
        resolve(environ={f"PENSTOCK_EVERY_{key.upper()}": text})


def test_settings_that_do_not_fit_together_are_refused() -> None:
    """The error is in the words of the plug-in's author."""
    with pytest.raises(PluginError, match="the settings of plug-in 'every' are invalid: count must be at most 100"):
        resolve({"count": 101})


def test_a_setting_without_a_default_must_be_given() -> None:
    """The error names the variable to set."""
    with pytest.raises(PluginError, match=r"plug-in 'needy' requires the setting 'url'; set PENSTOCK_NEEDY_URL"):
        Sources({}, {}).resolve("needy", Needy)
    assert Sources({"needy": {"url": "x"}}, {}).resolve("needy", Needy).settings.url == "x"


@pytest.mark.parametrize("kind", [dict, Key, 3])
def test_settings_must_be_a_subclass_of_plugin_settings(kind: Any) -> None:
    """Only these have the setting that all plug-ins share."""
    with pytest.raises(PluginError, match="Settings of plug-in 'every' are not a subclass"):
        Sources({}, {}).resolve("every", kind)


def test_a_field_of_an_unreadable_type_is_refused() -> None:
    """The error is raised when the settings are read, and has the name of the plug-in."""

    class Odd(PluginSettings, frozen=True):
        a: dict[str, int] | Everything | None = None

    with pytest.raises(PluginError, match="Settings of plug-in 'odd' have a field that cannot be read"):
        Sources({}, {}).resolve("odd", Odd)


# ---- unknown settings


PLUGINS = {"auth": ["enabled", "keys_file"], "rate-limit": ["enabled"], "off": None}


def complaints(app: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> list[str]:
    return [str(error) for error in Sources(app or {}, environ or {}, Path("nowhere")).unknown(PLUGINS)]


def test_an_unknown_key_is_refused_with_the_near_one() -> None:
    """The error names the source of the setting."""
    with pytest.raises(PluginError, match=r"no setting 'cuont' \(App\(settings=...\)\); did you mean count\?"):
        resolve({"cuont": 3})
    with pytest.raises(PluginError, match=r"no setting 'zzz'.*; there are: count, enabled, key"):
        resolve({"zzz": 3})


def test_an_unknown_plug_in_is_refused_with_the_near_one() -> None:
    """A section of settings must belong to a plug-in."""
    assert complaints({"auht": {}}) == [
        "there are settings for an unknown plug-in 'auht' (App(settings=...)); did you mean auth?"
    ]


def test_an_unknown_variable_is_refused_with_the_near_one() -> None:
    """Every PENSTOCK_ variable is a setting or a mistake."""
    [complaint] = complaints(environ={"PENSTOCK_AUTH_KEY_FILE": "x"})
    assert "environment variable PENSTOCK_AUTH_KEY_FILE; did you mean PENSTOCK_AUTH_KEYS_FILE?" in complaint
    [complaint] = complaints(environ={"PENSTOCK_WHATEVER": "x"})
    assert complaint.endswith("PENSTOCK_WHATEVER; `penstock plugins` lists them all")


def test_settings_of_a_plug_in_that_is_off_are_not_unknown() -> None:
    """It was not imported, so its settings are not known."""
    environ = {"PENSTOCK_OFF_ANYTHING": "x", "PENSTOCK_RATE_LIMIT_ENABLED": "true", "PENSTOCK_CONFIG": ""}
    assert complaints({"off": {"a": 1}}, environ) == []


def test_variables_of_kubernetes_are_ignored() -> None:
    """A service called penstock, or penstock-auth, adds variables that look like settings."""
    environ = {
        "PENSTOCK_SERVICE_HOST": "10.0.0.1",
        "PENSTOCK_SERVICE_PORT": "80",
        "PENSTOCK_SERVICE_PORT_HTTP": "80",
        "PENSTOCK_PORT": "tcp://10.0.0.1:80",
        "PENSTOCK_PORT_80_TCP": "tcp://10.0.0.1:80",
        "PENSTOCK_PORT_80_TCP_ADDR": "10.0.0.1",
        "PENSTOCK_AUTH_SERVICE_HOST": "10.0.0.2",
        "PENSTOCK_AUTH_PORT": "tcp://10.0.0.2:80",
    }
    assert complaints(environ=environ) == []


def test_a_setting_called_port_is_still_a_setting() -> None:
    """Only a URL as its value is Kubernetes'."""

    class Ported(PluginSettings, frozen=True):
        port: int = 1

    def port(value: str) -> int:
        return Sources({}, {"PENSTOCK_P_PORT": value}, Path("nowhere")).resolve("p", Ported).settings.port

    assert port("9090") == 9090
    assert port("tcp://10.0.0.1:80") == 1


def test_an_ambiguous_variable_is_refused() -> None:
    """Two settings may have the same variable; then only a file can tell them apart."""
    sources = Sources({}, {"PENSTOCK_A_B_C": "1"}, Path("nowhere"))
    [error] = sources.unknown({"a": ["b_c"], "a-b": ["c"]})
    assert str(error).startswith(
        "the environment variable PENSTOCK_A_B_C is a setting of plug-in 'a' and of plug-in 'a-b'"
    )


# ---- on and off


@pytest.mark.parametrize(("text", "is_off"), [("false", True), ("0", True), ("true", False), (None, False)])
def test_a_plug_in_is_switched_off_before_it_is_imported(text: str | None, is_off: bool) -> None:
    """Its settings need be neither known nor valid for that."""
    environ = {"PENSTOCK_EVERY_COUNT": "wrong"}
    if text is not None:
        environ["PENSTOCK_EVERY_ENABLED"] = text
    sources = Sources({"every": {"unknown": 1}}, environ)
    assert sources.is_switched_off("every") is is_off


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    """The error has the name of the variable."""
    with pytest.raises(PluginError, match=r"'perhaps' \(PENSTOCK_EVERY_ENABLED\)"):
        Sources({}, {"PENSTOCK_EVERY_ENABLED": "perhaps"}).is_switched_off("every")


# ---- secrets


@pytest.mark.parametrize(
    ("app", "environ"),
    [
        ({"key": ["hunter2"]}, {}),
        ({"keys": {"hunter2": 5}}, {}),
        ({"keys": {"ci": {"name": 5, "secret": "hunter2"}}}, {}),
        ({}, {"PENSTOCK_EVERY_KEYS": '{"ci": {"secret": "hunter2"}}'}),
        ({}, {"PENSTOCK_EVERY_KEYS": '{"ci": "hunter2"'}),
    ],
)
def test_a_secret_is_not_in_its_error(app: dict[str, Any], environ: dict[str, str]) -> None:
    """At no depth, and with no mistake in the values around it."""
    with pytest.raises(PluginError, match=r"setting 'keys?' of plug-in 'every'") as raised:
        resolve(app, environ)
    assert "hunter2" not in str(raised.value)


def test_a_secret_is_not_in_the_repr_of_the_settings() -> None:
    """The repr may appear in a traceback, or in a log line written by a plug-in."""
    settings = Everything(key="hunter2", keys={"ci": Key("CI", "hunter2")}, name="visible")
    assert "hunter2" not in repr(settings)
    assert "name='visible'" in repr(settings)


def test_a_secret_is_shown_as_set() -> None:
    """An empty secret is shown as not set."""
    assert shown("hunter2", Secret | None) == "(set)"
    assert shown({"ci": Key("CI", "hunter2")}, dict[str, Key]) == "(set)"
    assert shown(None, Secret | None) is None
    assert shown({"a": 1.5}, dict[str, float]) == {"a": 1.5}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (float | None, "float | None"),
        (Secret, "secret"),
        (Secret | None, "secret | None"),
        (Annotated[int, msgspec.Meta(gt=0)], "int"),
        (dict[str, Key], "dict[str, Key]"),
        (tuple[str, ...], "tuple[str, ...]"),
        (Literal["a", "b"], "'a' | 'b'"),
    ],
)
def test_types_are_named_as_they_are_written(kind: Any, name: str) -> None:
    """Module names and constraints are left out."""
    assert annotation_text(kind) == name
