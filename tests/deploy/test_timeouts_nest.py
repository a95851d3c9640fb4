"""The table of all timeouts in docs/how-to/deploying.md: it is true, and each contains what it should."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
import yaml

from penstock import Timeouts
from penstock.policies import DEFAULT_DRAIN_TIMEOUT, DEFAULT_START_TIMEOUT
from penstock_cli.main import serve
from penstock_gunicorn import application
from tests.serving import ROOT

DEPLOY = ROOT / "deploy"
Timeout = float | None


def seconds(value: Any) -> float:
    """Return a duration of a configuration file in seconds."""
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|)", str(value)).groups()  # type: ignore[union-attr]
    return float(number) / (1000 if unit == "ms" else 1)


def documented() -> dict[tuple[str, str], str]:
    """Return the seconds that the page names, by layer and timeout."""
    page = (ROOT / "docs" / "how-to" / "deploying.md").read_text(encoding="utf-8")
    section = page.partition("## Timeouts")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {(row[0], name.strip("` ")): row[2] for row in rows[2:] for name in row[1].split(",")}


def of_kubernetes() -> dict[str, Timeout]:
    deployment, *_ = yaml.safe_load_all((DEPLOY / "kubernetes" / "penstock.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return {
        "terminationGracePeriodSeconds": pod["terminationGracePeriodSeconds"],
        "preStop": container["lifecycle"]["preStop"]["sleep"]["seconds"],
    }


def of_systemd() -> dict[str, Timeout]:
    text = (DEPLOY / "systemd" / "penstock.service").read_text()
    return {name: seconds(value) for name, value in re.findall(r"^(Timeout\w+Sec)=(\S+)$", text, re.MULTILINE)}


def of_nginx() -> dict[str, Timeout]:
    """Return the timeouts of the configuration; no directive may have two."""
    text = re.sub(r"#.*", "", (DEPLOY / "nginx" / "penstock.conf").read_text())
    pairs = re.findall(r"(\w+_timeout) ([0-9a-z]+);", text)
    pairs.remove(("proxy_next_upstream_timeout", "5s"))  # it bounds tries of which none has begun
    assert len(dict(pairs)) == len(pairs)
    return {name: seconds(value) for name, value in pairs}


def of_envoy() -> dict[str, Timeout]:
    resources = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text())["static_resources"]
    (cluster,) = resources["clusters"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return {
        "stream_idle_timeout": seconds(manager["stream_idle_timeout"]),
        "connect_timeout": seconds(cluster["connect_timeout"]),
        "idle_timeout": seconds(options["common_http_protocol_options"]["idle_timeout"]),
    }


def of_http_process() -> dict[str, Timeout]:
    options = {option.opts[0]: option.default for option in serve.params if isinstance(option, click.Option)}
    assert options["--drain-timeout"] == DEFAULT_DRAIN_TIMEOUT
    names = ("--header-timeout", "--body-timeout", "--drain-timeout")
    return {
        **{name: options[name] for name in names},
        "keep-alive": application.KEEPALIVE,
        "heartbeat": application.HEARTBEAT_TIMEOUT,
        "drain margin": application.DRAIN_MARGIN,
    }


def actual() -> dict[tuple[str, str], Timeout]:
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"]["penstock"]
    endpoint = Timeouts()
    names = ("total", "queue", "execution", "first_chunk", "idle", "grace")
    layers: dict[str, dict[str, Timeout]] = {
        "Kubernetes": of_kubernetes(),
        "Docker": {"stop_grace_period": seconds(compose["stop_grace_period"])},
        "systemd": of_systemd(),
        "nginx": of_nginx(),
        "Envoy": of_envoy(),
        "HTTP process": of_http_process(),
        "endpoint": {name: getattr(endpoint, name) for name in names},
        "worker": {"start_timeout": DEFAULT_START_TIMEOUT},
    }
    return {(layer, name): value for layer, timeouts in layers.items() for name, value in timeouts.items()}


def test_the_table_is_complete_and_true() -> None:
    """It has every timeout of the recipes, of the server and of endpoints, with its value."""
    shown = {key: "none" if value is None else f"{value:g}" for key, value in actual().items()}
    page = documented()
    assert page.pop(("client", "its own")) == "yours"
    assert page == shown


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("terminationGracePeriodSeconds", ["preStop", "--drain-timeout", "drain margin"]),
        ("stop_grace_period", ["--drain-timeout", "drain margin"]),
        ("TimeoutStopSec", ["--drain-timeout", "drain margin"]),
        ("TimeoutStartSec", ["start_timeout"]),
        ("proxy_read_timeout", ["queue", "execution"]),
        ("proxy_read_timeout", ["idle"]),
        ("proxy_send_timeout", ["--body-timeout"]),
        ("stream_idle_timeout", ["queue", "execution"]),
        ("stream_idle_timeout", ["idle"]),
        ("keep-alive", ["keepalive_timeout"]),
        ("keep-alive", ["idle_timeout"]),
        ("drain margin", ["grace"]),
    ],
)
def test_they_nest(outer: str, inner: list[str]) -> None:
    """The outer one is longer than the inner ones together."""
    by_name = {name: value for (_, name), value in actual().items() if value is not None}
    assert by_name[outer] > sum(by_name[name] for name in inner)


def test_the_liveness_probe_is_slower_than_the_server() -> None:
    """Kubernetes does not kill a pod in which the server is about to replace its HTTP process."""
    deployment, *_ = yaml.safe_load_all((DEPLOY / "kubernetes" / "penstock.yaml").read_text())
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * application.HEARTBEAT_TIMEOUT
