"""The files in deploy/ agree with the relay: settings, ports, paths, users, names. No engine is needed."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import service
from service.api import health
from service.settings import FROM_FILES, Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
OBJECTS = [
    item
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for item in yaml.safe_load_all(file.read_text("utf-8"))
]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS = {name.upper() for name in Settings.model_fields} | {f"{name.upper()}_FILE" for name in FROM_FILES}
SETTINGS |= {"FORWARDED_ALLOW_IPS"}  # uvicorn's: whose X-Forwarded-For is believed
VERBS = (["serve", "--no-worker"], ["worker"], ["migrate"])
PROBED = {route.path for route in health.router.routes}  # type: ignore[attr-defined]  # all are paths
IN_FILES = {"soniox_api_key", "soniox_api_webhook_secret", "relay_api_key", "database_url"}


def of_kind(kind: str) -> list[dict[str, Any]]:
    """The Kubernetes objects of that kind."""
    return [item for item in OBJECTS if item["kind"] == kind]


def workloads() -> dict[str, dict[str, Any]]:
    """The pod templates by component."""
    found = [item["spec"]["template"] for kind in ("Job", "Deployment") for item in of_kind(kind)]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template["spec"] for template in found}


def settings_in_kubernetes() -> dict[str, str]:
    (config,) = of_kind("Kustomization")[0]["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in config["literals"])


def unit_values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def test_only_settings_that_exist_are_set() -> None:
    for name in ("migrate", "api", "worker"):
        assert set(COMPOSE["services"][name]["environment"]) <= SETTINGS
    assert set(settings_in_kubernetes()) <= SETTINGS
    for unit in UNITS:
        assert {each.split("=")[0] for each in unit_values(unit, "Environment")} <= SETTINGS, unit.name


def test_every_role_runs_a_verb_of_the_image() -> None:
    assert 'ENTRYPOINT ["soniox-relay"]' in DOCKERFILE
    assert [COMPOSE["services"][name]["command"] for name in ("api", "worker", "migrate")] == list(VERBS)
    found = workloads()
    assert [found[name]["containers"][0]["args"] for name in ("api", "worker", "migrate")] == list(VERBS)


def test_secrets_are_files_that_are_really_mounted() -> None:
    declared = {name: entry["file"] for name, entry in COMPOSE["secrets"].items()}
    relay = COMPOSE["services"]["api"]
    for name, path in relay["environment"].items():
        if name.endswith("_FILE"):
            assert Path(path).name in relay["secrets"]
            assert declared[Path(path).name] == f"secrets/{Path(path).name}"
    mounted = {
        mount["mountPath"] for spec in workloads().values() for mount in spec["containers"][0]["volumeMounts"]
    }
    files = {name: path for name, path in settings_in_kubernetes().items() if name.endswith("_FILE")}
    assert {str(Path(path).parent) for path in files.values()} <= mounted
    assert {name.removesuffix("_FILE").lower() for name in files} == IN_FILES
    for unit in UNITS:
        loaded = {each.split(":")[0] for each in unit_values(unit, "LoadCredential")}
        used = {each.rpartition("%d/")[2] for each in unit_values(unit, "Environment") if "%d/" in each}
        assert used == loaded, unit.name


def test_no_secret_stands_in_a_file() -> None:
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            assert not re.search(r"srk_|whsec_|PASSWORD=|://\w+:[\w-]+@", file.read_text("utf-8")), file.name


def test_the_ports_and_the_probes_are_the_relays() -> None:
    port = Settings.model_fields["port"].default
    assert f"EXPOSE {port}" in DOCKERFILE
    assert COMPOSE["services"]["api"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (container,) = workloads()["api"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/livez", "port": "http"}
    assert {"/livez", "/metrics"} <= PROBED
    (route,) = of_kind("Service")
    assert route["spec"]["ports"][0]["targetPort"] == "http"
    for proxy in ("nginx.conf", "Caddyfile"):
        assert f"127.0.0.1:{port}" in (DEPLOY / "proxy" / proxy).read_text("utf-8")


def test_every_pod_runs_as_the_images_user_and_may_write_nothing_but_scratch() -> None:
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert set(workloads()) == {"api", "worker", "migrate"}
    for spec in workloads().values():
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == int(user)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for name in ("api", "worker", "migrate"):
        assert COMPOSE["services"][name]["read_only"] is True
        assert COMPOSE["services"][name]["cap_drop"] == ["ALL"]


def test_the_version_is_this_one() -> None:
    assert of_kind("Kustomization")[0]["images"] == [{"name": "soniox-relay", "newTag": service.__version__}]
    assert COMPOSE["services"]["api"]["image"] == f"soniox-relay:${{RELAY_VERSION:-{service.__version__}}}"


def test_the_kustomization_has_all_manifests_and_what_selects_finds_something() -> None:
    files = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(of_kind("Kustomization")[0]["resources"]) == files
    components = set(workloads())
    for item in of_kind("PodDisruptionBudget") + of_kind("Deployment"):
        assert set(item["spec"]["selector"]["matchLabels"].values()) <= components
    names = {item["metadata"]["name"] for item in of_kind("Deployment")}
    for item in of_kind("HorizontalPodAutoscaler"):
        assert item["spec"]["scaleTargetRef"]["name"] in names


def test_stopping_is_given_the_time_it_may_take() -> None:
    assert COMPOSE["services"]["worker"]["stop_grace_period"] == "15s"
    assert all(unit_values(unit, "TimeoutStopSec") in (["15"], []) for unit in UNITS)
    for name in ("api", "worker"):
        assert workloads()[name]["terminationGracePeriodSeconds"] >= 15


def test_the_proxies_take_no_larger_webhook_than_the_relay_and_every_upload_it_takes() -> None:
    upload = Settings.model_fields["relay_max_upload_bytes"].default
    for proxy in ("nginx.conf", "Caddyfile"):
        text = (DEPLOY / "proxy" / proxy).read_text("utf-8")
        sizes = {int(number) for number in re.findall(r"(?:body_size|max_size) (\d+)(?:m|MiB)", text)}
        assert max(sizes) * 1024**2 > upload
        assert re.search(r"(client_max_body_size|max_size) 16(k|KiB)", text)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path) -> None:
    for each in UNITS:
        text = each.read_text("utf-8").replace("/opt/soniox-relay/bin/soniox-relay", shutil.which("true") or "")
        (tmp_path / each.name.replace("@.", "@1.")).write_text(text)
    name = tmp_path / unit.name.replace("@.", "@1.")
    done = subprocess.run(["systemd-analyze", "verify", name], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; see `make deploy-check`")
def test_kustomize_puts_the_manifests_together() -> None:
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    kinds = {item["kind"] for item in yaml.safe_load_all(done.stdout)}
    assert {"Deployment", "Job", "ConfigMap", "NetworkPolicy"} <= kinds
    assert f"soniox-relay:{service.__version__}" in done.stdout
