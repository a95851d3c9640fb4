"""The recipes in deploy/ are valid, safe, and name only what exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import parser

from penstock.hosting import load_app
from penstock.testing import PluginHarness
from penstock_cli.main import serve
from penstock_metrics import MetricsPlugin
from tests.containers import Contained, needs_containers
from tests.serving import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "docker" / "compose.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SCRIPTS = Path(sys.executable).parent


def documents() -> Iterator[dict[str, Any]]:
    for path in KUBERNETES:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def manifest(kind: str) -> Any:
    (found,) = [document for document in documents() if document["kind"] == kind]
    return found


# ---- Docker


def instructions() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage of the Dockerfile, without comments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = [[]]
    for line in filter(None, text.splitlines()):
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest))
    return stages[1:]


def test_the_dockerfile_has_no_findings() -> None:
    """Hadolint checks it, with ShellCheck for its commands."""
    ran = subprocess.run([SCRIPTS / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_image_has_no_build_tools_and_no_root() -> None:
    """The last stage installs nothing, has a numeric user that is not root, and the server is PID 1."""
    *_, last = instructions()
    found = dict(last)
    assert "RUN" not in found
    assert int(found["USER"].partition(":")[0]) > 0
    assert json.loads(found["ENTRYPOINT"]) == ["penstock", "serve"]
    assert isinstance(json.loads(found["CMD"]), list)


def image_environment() -> dict[str, str]:
    *_, last = instructions()
    pairs = [pair.partition("=") for name, rest in last if name == "ENV" for pair in shlex.split(rest)]
    return {name: value for name, _, value in pairs if name.startswith("PENSTOCK_")}


def test_the_images_variables_are_options() -> None:
    """A variable that no option reads would be an error at the start."""
    known = {option.envvar for option in serve.params}
    assert set(image_environment()) <= known


@needs_containers
def test_the_image_would_serve(tmp_path: Path) -> None:
    """Its command, with its variables and its app, in a container's conditions."""
    (target,) = json.loads(dict(instructions()[-1])["CMD"])
    environment = {name: value for name, value in image_environment().items() if name != "PENSTOCK_HOST"}
    with Contained(target, temporary=tmp_path, folder=DEPLOY / "docker", environment=environment) as served:
        assert served.post_json("/square", {"input": 3}).json() == 9
        assert served.stop() == 0


def test_the_compose_file_fits_its_schema() -> None:
    """The schema is that of the Compose specification."""
    command = [SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "ok -- validation done")


def test_the_container_has_only_what_it_needs() -> None:
    """A read-only root with a temporary folder, no capability, and a port of this machine alone."""
    service = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["penstock"]
    assert service["read_only"]
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


# ---- Kubernetes


@pytest.mark.parametrize("document", [d for d in documents() if "keda" not in d["apiVersion"]], ids=lambda d: d["kind"])
def test_a_manifest_fits_its_schema(document: dict[str, Any]) -> None:
    """The schemas are those that Kubernetes publishes; unknown fields are errors too."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


SCALED_OBJECT_FIELDS = {
    *("scaleTargetRef", "pollingInterval", "cooldownPeriod", "initialCooldownPeriod", "idleReplicaCount"),
    *("minReplicaCount", "maxReplicaCount", "advanced", "fallback", "triggers"),
}


def test_the_scaled_object_has_the_fields_of_kedas() -> None:
    """KEDA refuses unknown fields, and a Prometheus trigger without one of its three values, which are strings."""
    spec = manifest("ScaledObject")["spec"]
    assert spec.keys() <= SCALED_OBJECT_FIELDS
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    assert {"serverAddress", "query", "threshold"} <= trigger["metadata"].keys()
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_manifests_fit_each_other() -> None:
    """Selectors select the pods, and scalers name the Deployment."""
    deployment = manifest("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert manifest("Service")["spec"]["selector"].items() <= labels.items()
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert manifest("ScaledObject")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_the_pod_has_only_what_it_needs() -> None:
    """The rules of the Pod Security Standard "restricted", a read-only root, and no token."""
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    own = container["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


def test_probes_ask_the_right_paths() -> None:
    """Routing follows /readyz; restarts follow /livez, which stays 200 while models load."""
    (container,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}


def test_the_pods_variables_are_options() -> None:
    """A variable that no option reads would be an error at the start."""
    (container,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {variable["name"] for variable in container["env"]} <= {option.envvar for option in serve.params}


def test_scalers_ask_for_metrics_that_exist() -> None:
    """Each name of a metric in the recipes is on the page of a server."""
    named = set()
    for path in KUBERNETES:
        content = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
        named |= set(re.findall(r"penstock_\w+", content))
    assert named
    harness = PluginHarness(load_app(str(DEPLOY / "docker" / "app.py")), [MetricsPlugin])
    page = harness.route("/metrics").body.decode()
    assert named <= {sample.name for f in parser.text_string_to_metric_families(page) for sample in f.samples}


# ---- systemd


def unit(name: str) -> str:
    return (DEPLOY / "systemd" / name).read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_units_are_valid(tmp_path: Path) -> None:
    """Systemd finds nothing to say about them; only the paths are replaced by some that exist here."""
    service = unit("penstock.service").replace("/opt/penstock/venv/bin/penstock", shutil.which("true") or "")
    (tmp_path / "penstock.service").write_text(service.replace("/opt/penstock/app", str(tmp_path)))
    (tmp_path / "penstock.socket").write_text(unit("penstock.socket"))
    paths = [tmp_path / "penstock.service", tmp_path / "penstock.socket"]
    ran = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_service_is_confined(tmp_path: Path) -> None:
    """Systemd's own estimate of its exposure is "OK": at most 3 of 10."""
    (tmp_path / "penstock.service").write_text(unit("penstock.service"))
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", tmp_path / "penstock.service"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert ran.returncode == 0, ran.stdout


def test_the_service_does_not_wait_for_what_is_never_sent() -> None:
    """With Type=notify, systemd would kill a server that sends no notification."""
    (kind,) = re.findall("^Type=(.*)$", unit("penstock.service"), re.MULTILINE)
    code = (path.read_text(encoding="utf-8") for path in (ROOT / "adapters").rglob("*.py"))
    assert kind == "exec" or any("NOTIFY_SOCKET" in text for text in code)


# ---- Envoy


def values_of(document: Any, key: str) -> Iterator[Any]:
    """Yield the values of a key, wherever it occurs."""
    children = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in children:
        if name == key:
            yield value
        if isinstance(value, dict | list):
            yield from values_of(value, key)


def test_envoys_references_lead_somewhere() -> None:
    """Routes name clusters that exist, and every extension has its type."""
    document = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))
    clusters = {cluster["name"] for cluster in document["static_resources"]["clusters"]}
    assert set(values_of(document, "cluster")) == clusters
    for extension in values_of(document, "typed_config"):
        assert re.fullmatch(r"type\.googleapis\.com/envoy(\.\w+)+\.v3\.[A-Z]\w+", extension["@type"])


def test_envoy_repeats_nothing_that_may_have_begun() -> None:
    """It retries only where no request has reached a server, never for a status; and it bounds no stream."""
    document = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))
    (policy,) = values_of(document, "retry_policy")
    assert set(policy["retry_on"].split(",")) <= {"connect-failure", "reset-before-request", "refused-stream"}
    (route,) = values_of(document, "route")
    assert route["timeout"] == "0s"
    closed = [r["match"] for (routes,) in [values_of(document, "routes")] for r in routes if "direct_response" in r]
    assert closed == [{"prefix": "/-/"}, {"path": "/metrics"}]
