"""Settings of plug-ins: where they come from, what they are read as, and what is said of one that is wrong."""

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
    key: Secret | None = None
    keys: dict[str, Key] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count > 100:
            raise ValueError("count must be at most 100, or rate 0; lower it")


class Needy(PluginSettings, frozen=True, kw_only=True):
    url: str


def resolve(
    app: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, folder: Path | None = None
) -> Everything:
    """The settings of the plug-in "every"."""
    tables = {} if app is None else {"every": app}
    return Sources(tables, environ or {}, folder).resolve("every", Everything).settings


def toml(folder: Path, text: str, name: str = "pyproject.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


# ---- where they come from


def test_each_source_overrules_those_before_it(tmp_path: Path) -> None:
    """The default, then the app, then the file, then the environment; and each tells where a value comes from."""
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
    """PENSTOCK_CONFIG names one, instead of the pyproject.toml of the folder."""
    toml(tmp_path, "[tool.penstock.every]\ncount = 1")
    named = toml(tmp_path, "[tool.penstock.every]\ncount = 2", "other.toml") / "other.toml"
    assert resolve(environ={"PENSTOCK_CONFIG": str(named)}, folder=tmp_path).count == 2
    assert resolve(folder=tmp_path).count == 1


def test_a_folder_without_a_file_is_fine(tmp_path: Path) -> None:
    """So is a pyproject.toml that has nothing for Penstock."""
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
    """With its name: nothing is worse than settings that are silently not read."""
    (tmp_path / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PluginError, match=complaint) as raised:
        Sources({}, {}, tmp_path)
    assert "pyproject.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "complaint"), [(None, "No such file"), ("[project]", r"no table \[tool.penstock.NAME\]")]
)
def test_a_named_file_must_be_there_and_mean_us(tmp_path: Path, text: str | None, complaint: str) -> None:
    """Whoever names a file means it; the message says which variable named it."""
    path = tmp_path / "it.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PluginError, match=f"it.toml .named by PENSTOCK_CONFIG.*{complaint}"):
        Sources({}, {"PENSTOCK_CONFIG": str(path)}, tmp_path)


# ---- what they are read as


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
    """Numbers and booleans as they are written, lists with commas or in JSON, tables in JSON."""
    assert getattr(resolve(environ={f"PENSTOCK_EVERY_{key.upper()}": text}), key) == value


def test_values_of_the_app_and_the_file_keep_their_type(tmp_path: Path) -> None:
    """There a number is a number, and text is not made into one."""
    assert resolve({"keys": {"ci": {"name": "CI"}}, "scopes": ["a"]}).keys["ci"].name == "CI"
    with pytest.raises(PluginError, match="Expected `int`, got `str`"):
        resolve({"count": "7"})
    with pytest.raises(PluginError, match="Expected `int`, got `str`"):
        resolve(folder=toml(tmp_path, "[tool.penstock.every]\ncount = '7'"))


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("count", "many", r"setting 'count' of plug-in 'every' = 'many' \(PENSTOCK_EVERY_COUNT\): Expected `int`"),
        ("enabled", "perhaps", "Expected `bool`"),
        ("mode", "quick", "'mode'.*quick"),
        ("limit", "0", "> 0"),
        ("limits", "a=1", "Expected `object`"),
        ("limits", '{"a": ', "'limits'.*truncated"),
        ("sizes", "1,two", r"Expected `int`.*\$\[1\]"),
        ("keys", '{"ci": {"nam": "CI"}}', "'keys'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(key: str, text: str, complaint: str) -> None:
    """With the setting, the plug-in, where it comes from, and what was expected."""
    with pytest.raises(PluginError, match=complaint):
        resolve(environ={f"PENSTOCK_EVERY_{key.upper()}": text})


def test_settings_that_do_not_fit_together_are_refused() -> None:
    """In the words of the plug-in's author."""
    with pytest.raises(PluginError, match="the settings of plug-in 'every' are invalid: count must be at most 100"):
        resolve({"count": 101})


def test_a_setting_without_a_default_must_be_given() -> None:
    """The message names the variable that does it."""
    with pytest.raises(PluginError, match=r"plug-in 'needy' requires the setting 'url'; set PENSTOCK_NEEDY_URL"):
        Sources({}, {}).resolve("needy", Needy)
    assert Sources({"needy": {"url": "x"}}, {}).resolve("needy", Needy).settings.url == "x"


@pytest.mark.parametrize("kind", [dict, Key, 3])
def test_settings_that_are_no_settings_are_refused(kind: Any) -> None:
    """Only subclasses of PluginSettings have the setting that all have."""
    with pytest.raises(PluginError, match="Settings of plug-in 'every' are not a subclass"):
        Sources({}, {}).resolve("every", kind)


def test_a_field_of_an_unreadable_type_is_refused() -> None:
    """When the plug-in is made, with its name."""

    class Odd(PluginSettings, frozen=True):
        a: dict[str, int] | Everything | None = None

    with pytest.raises(PluginError, match="Settings of plug-in 'odd' have a field that cannot be read"):
        Sources({}, {}).resolve("odd", Odd)


# ---- what nobody knows


PLUGINS = {"auth": ["enabled", "keys_file"], "rate-limit": ["enabled"], "off": None}


def complaints(app: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> list[str]:
    return [str(error) for error in Sources(app or {}, environ or {}, Path("nowhere")).unknown(PLUGINS)]


def test_an_unknown_key_is_refused_with_the_near_one() -> None:
    """Of the app and of the file, naming which."""
    with pytest.raises(PluginError, match=r"no setting 'cuont' \(App\(settings=...\)\); did you mean count\?"):
        resolve({"cuont": 3})
    with pytest.raises(PluginError, match=r"no setting 'zzz'.*; there are: count, enabled, key"):
        resolve({"zzz": 3})


def test_an_unknown_plug_in_is_refused_with_the_near_one() -> None:
    """Wherever it is set."""
    assert complaints({"auht": {}}) == [
        "there are settings for an unknown plug-in 'auht' (App(settings=...)); did you mean auth?"
    ]


def test_an_unknown_variable_is_refused_with_the_near_one() -> None:
    """Every PENSTOCK_ variable is a setting, or a mistake."""
    [complaint] = complaints(environ={"PENSTOCK_AUTH_KEY_FILE": "x"})
    assert "environment variable PENSTOCK_AUTH_KEY_FILE; did you mean PENSTOCK_AUTH_KEYS_FILE?" in complaint
    [complaint] = complaints(environ={"PENSTOCK_WHATEVER": "x"})
    assert complaint.endswith("PENSTOCK_WHATEVER; `penstock plugins` lists them all")


def test_what_belongs_to_a_plug_in_that_is_off_is_not_unknown() -> None:
    """It was not imported, so nobody knows its settings."""
    environ = {"PENSTOCK_OFF_ANYTHING": "x", "PENSTOCK_RATE_LIMIT_ENABLED": "true", "PENSTOCK_CONFIG": ""}
    assert complaints({"off": {"a": 1}}, environ) == []


def test_what_kubernetes_sets_is_not_ours() -> None:
    """A namespace with a service called penstock, or penstock-auth, has variables that look like settings."""
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
    """Only a URL in it is Kubernetes'."""

    class Ported(PluginSettings, frozen=True):
        port: int = 1

    def port(value: str) -> int:
        return Sources({}, {"PENSTOCK_P_PORT": value}, Path("nowhere")).resolve("p", Ported).settings.port

    assert port("9090") == 9090
    assert port("tcp://10.0.0.1:80") == 1


def test_a_variable_that_means_two_things_is_refused() -> None:
    """Two names may become one in capitals; then only a file can tell them apart."""
    sources = Sources({}, {"PENSTOCK_A_B_C": "1"}, Path("nowhere"))
    [error] = sources.unknown({"a": ["b_c"], "a-b": ["c"]})
    assert str(error).startswith(
        "the environment variable PENSTOCK_A_B_C is a setting of plug-in 'a' and of plug-in 'a-b'"
    )


# ---- on and off


@pytest.mark.parametrize(("text", "is_off"), [("false", True), ("0", True), ("true", False), (None, False)])
def test_a_plug_in_is_switched_off_before_it_is_imported(text: str | None, is_off: bool) -> None:
    """Its settings need not be known for that, nor be right."""
    environ = {"PENSTOCK_EVERY_COUNT": "wrong"}
    if text is not None:
        environ["PENSTOCK_EVERY_ENABLED"] = text
    sources = Sources({"every": {"unknown": 1}}, environ)
    assert sources.is_switched_off("every") is is_off


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    """With the variable's name."""
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
def test_a_secret_is_not_in_the_complaint_about_it(app: dict[str, Any], environ: dict[str, str]) -> None:
    """However deep it is, and however wrong what is around it."""
    with pytest.raises(PluginError, match=r"setting 'keys?' of plug-in 'every'") as raised:
        resolve(app, environ)
    assert "hunter2" not in str(raised.value)


def test_a_secret_is_not_in_the_repr_of_the_settings() -> None:
    """Which may be in a traceback, or in a plug-in's own log line."""
    settings = Everything(key="hunter2", keys={"ci": Key("CI", "hunter2")}, name="visible")
    assert "hunter2" not in repr(settings)
    assert "name='visible'" in repr(settings)


def test_a_secret_is_shown_as_set() -> None:
    """And an empty one as not set."""
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
    """Without modules and without what only machines need."""
    assert annotation_text(kind) == name
