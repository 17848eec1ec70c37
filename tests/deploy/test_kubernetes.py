"""The manifests, as kubectl builds them: legal, restricted, and in step with each other and the code."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from autoscaler.cli.main import main as autoscaler
from autoscaler.core.decider import Mode
from autoscaler.settings import load as config
from docservice.cli.main import main as docservice
from docservice.config import Settings
from tests.deploy.manifests import (
    KUBERNETES,
    BuildError,
    Manifest,
    breaches,
    built,
    built_from,
    containers,
    one,
    pods,
    variables,
)
from tests.deploy.tools import MISSING, TOP
from tests.support.prometheus_rule import WRITTEN, prometheus_rule

if TYPE_CHECKING:
    from pathlib import Path


GUIDE = TOP / "docs/kubernetes.md"
FOLDERS = (
    "base",
    "overlays/qa",
    "examples/document-service",
    "examples/own-worker",
    "examples/own-worker-legacy",
)
OWN = ("base", "overlays/qa")
#: The first with native sidecars, and the newest that is known.
VERSIONS = dict.fromkeys(FOLDERS, ("1.29", "1.37")) | {"examples/own-worker-legacy": ("1.27", "1.37")}
#: The part of the Prometheus operator's definition that is used here; a field beyond it is an error.
POD_MONITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PodMonitor"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "podMetricsEndpoints"],
            "properties": {
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchLabels": {"additionalProperties": {"type": "string"}}},
                },
                "podMetricsEndpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["port"],
                        "properties": {
                            "port": {"type": "string", "maxLength": 15},
                            "path": {"pattern": "^/"},
                            "interval": {"pattern": "^[0-9]+(ms|s|m)$"},
                        },
                    },
                },
            },
        },
    },
}

#: The same for its alerts.
PROMETHEUS_RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PrometheusRule"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["groups"],
            "properties": {
                "groups": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "rules"],
                        "properties": {
                            "name": {"type": "string"},
                            "rules": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "required": ["expr"],
                                    "oneOf": [{"required": ["record"]}, {"required": ["alert"]}],
                                    "properties": {
                                        "record": {"type": "string"},
                                        "alert": {"type": "string"},
                                        "expr": {"type": "string"},
                                        "for": {"pattern": "^[0-9]+(s|m|h)$"},
                                        "labels": {"additionalProperties": {"type": "string"}},
                                        "annotations": {"additionalProperties": {"type": "string"}},
                                    },
                                },
                            },
                        },
                    },
                }
            },
        },
    },
}
OPERATOR = {"PodMonitor": POD_MONITOR, "PrometheusRule": PROMETHEUS_RULE}


def optional(name: str) -> Any:
    """A module of the group `deploy`; skips where it is missing."""
    return pytest.importorskip(name, reason=MISSING.format(name), exc_type=ImportError)


def is_legal(item: Manifest, version: str) -> bool:
    """Whether an object has the fields that its kind has, all that it needs and none besides."""
    jsonschema = optional("jsonschema")
    of_kubernetes = optional("kubernetes_validate")
    try:
        if item["kind"] in OPERATOR:
            jsonschema.validate(item, OPERATOR[item["kind"]])
        else:
            of_kubernetes.validate(item, version, strict=True)
    except (jsonschema.ValidationError, of_kubernetes.ValidationError):
        return False
    return True


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_one_that_the_cluster_knows(folder: str):
    found = {
        (version, item["kind"], item["metadata"]["name"])
        for version in VERSIONS[folder]
        for item in built(folder)
        if item["kind"] != "ScaledObject"  # KEDA's own: test_keda_manifests
        and not is_legal(item, version)
    }
    assert found == set()


def mutated(item: Manifest, path: str, value: Any) -> Manifest:
    changed = copy.deepcopy(item)
    place: Any = changed
    *parents, last = path.split("/")
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("Deployment", "docservice-worker", "spec/template/spec/initContainers/0/restartPolice", "Always"),
        ("Deployment", "docservice-api", "spec/replicas", "two"),
        ("NetworkPolicy", "docservice", "spec/podSelectors", {}),
        ("Job", "docservice-migrate", "spec/template/spec/containers/0/healthcheck", {}),
        ("PodMonitor", "celery-autoscaler", "spec/podMetricsEndpoints/0/prot", "autoscaler"),
        ("PrometheusRule", "celery-autoscaler", "spec/groups/0/rules/0/four", "5m"),
    ],
)
def test_a_field_that_does_not_exist_is_found(kind: str, name: str, path: str, value: Any):
    item = one(built("base"), kind, name)
    assert is_legal(item, "1.37")
    assert not is_legal(mutated(item, path, value), "1.37")


def sidecar(pod: Manifest) -> Manifest:
    (found,) = (container for container in containers(pod) if container["name"] == "autoscaler")
    return found


def test_the_component_adds_itself_to_a_worker_and_changes_nothing_of_it():
    before = yaml.safe_load((KUBERNETES / "examples/own-worker/worker.yaml").read_text())
    after = copy.deepcopy(one(built("examples/own-worker"), "Deployment", "mailer"))
    spec = after["spec"]["template"]["spec"]
    assert [added["name"] for added in spec.pop("initContainers")] == ["autoscaler"]
    *added, own = spec["volumes"]
    assert [volume["name"] for volume in added] == [
        "celery-autoscaler-limits",
        "celery-broker",
        "celery-autoscaler-tmp",
    ]
    spec["volumes"] = [own]
    assert after["spec"]["template"]["metadata"]["labels"].pop("celery-autoscaler") == "sidecar"
    assert after == before


@pytest.mark.parametrize("folder", ["examples/own-worker", "examples/own-worker-legacy"])
def test_the_sidecar_knows_the_worker_by_the_name_that_celery_gives_it(folder: str, tmp_path: Path):
    pod = pods(built(folder))["mailer"]
    given = variables(sidecar(pod), metadata_name="mailer-7d9-x2x")
    (tmp_path / "url").write_text("redis://redis:6379/0")
    settings = config.load({}, given | {"REDIS_URL_FILE": str(tmp_path / "url")})
    assert (sorted(settings.scope.workers), settings.name, settings.mode) == (
        ["celery@mailer-7d9-x2x"],
        "celery@mailer-7d9-x2x",
        Mode.ACT,
    )
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar(pod)["volumeMounts"]}
    assert settings.container is not None
    assert str(settings.container.limits_folder) == mounts["celery-autoscaler-limits"]
    assert given["REDIS_URL_FILE"] == f"{mounts['celery-broker']}/REDIS_URL"


@pytest.mark.parametrize(
    ("folder", "name", "worker"),
    [
        ("examples/own-worker", "mailer", "celery"),
        ("examples/own-worker-legacy", "mailer", "celery"),
        ("base", "docservice-worker", "worker"),
    ],
)
def test_the_limits_are_those_of_the_workers_container(folder: str, name: str, worker: str):
    volumes = {volume["name"]: volume for volume in pods(built(folder))[name]["spec"]["volumes"]}
    assert volumes["celery-autoscaler-limits"]["downwardAPI"]["items"] == [
        {
            "path": "cpu_limit",
            "resourceFieldRef": {"containerName": worker, "resource": "limits.cpu", "divisor": "1m"},
        },
        {
            "path": "memory_limit",
            "resourceFieldRef": {"containerName": worker, "resource": "limits.memory", "divisor": "1"},
        },
    ]


def test_the_older_form_is_the_same_container_behind_the_worker():
    new = pods(built("examples/own-worker"))["mailer"]["spec"]
    old = pods(built("examples/own-worker-legacy"))["mailer"]["spec"]
    assert new["initContainers"][0]["restartPolicy"] == "Always"
    assert [container["name"] for container in new["containers"]] == ["celery"]
    native = {key: value for key, value in new["initContainers"][0].items() if key != "restartPolicy"}
    assert (old["initContainers"], old["containers"]) == ([], [*new["containers"], native])


def test_a_deployment_without_the_label_stays_as_it_is(tmp_path: Path):
    shutil.copytree(KUBERNETES / "components", tmp_path / "components")
    shutil.copytree(KUBERNETES / "examples/own-worker", tmp_path / "examples/own")
    worker = tmp_path / "examples/own/worker.yaml"
    worker.write_text(worker.read_text().replace("    celery-autoscaler: sidecar\n", "    team: post\n"))
    deployment = one(built_from(tmp_path / "examples/own"), "Deployment", "mailer")
    assert deployment == yaml.safe_load(worker.read_text())


def with_patches(place: Path, *numbers: int, worker: str = "") -> tuple[Manifest, ...]:
    """The example of an own worker with these of the guide's patches, in this order."""
    shutil.copytree(KUBERNETES / "components", place / "components")
    shutil.copytree(KUBERNETES / "examples/own-worker", place / "examples/own")
    text = GUIDE.read_text()
    shown = re.findall(r"```yaml\npatches:\n(.*?)```", text, flags=re.DOTALL)
    kustomization = place / "examples/own/kustomization.yaml"
    patches = "".join(shown[number] for number in numbers)
    kustomization.write_text(f"{kustomization.read_text()}patches:\n{patches}")
    if worker:
        (place / "examples/own/worker.yaml").write_text(worker)
    return built_from(place / "examples/own")


def test_a_worker_without_an_at_in_its_name_is_reported_with_its_pods(tmp_path: Path):
    found = sidecar(pods(with_patches(tmp_path, 1))["mailer"])
    given = variables(found, metadata_name="mailer-7d9-x2x")
    assert given["AUTOSCALER_WORKER"] == "celery@mails-mailer-7d9-x2x"
    assert [entry["name"] for entry in found["env"]][:2] == ["POD_NAME", "AUTOSCALER_WORKER"]


def test_a_pods_name_that_is_not_repeated_stays_unknown(tmp_path: Path):
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    readme = GUIDE.read_text()
    repeated = r" +- name: POD_NAME\n +valueFrom: .*\n(?= +- \{name: AUTOSCALER_WORKER)"
    (patch,) = re.findall(r"```yaml\n(patches:\n[^`]*celery@mails-[^`]*)```", readme)
    shorter, count = re.subn(repeated, "", patch)
    own = tmp_path / "kubernetes/examples/own-worker"
    (own / "kustomization.yaml").write_text((own / "kustomization.yaml").read_text() + shorter)
    given = variables(sidecar(pods(built_from(own))["mailer"]), metadata_name="pod")
    assert (count, given["AUTOSCALER_WORKER"]) == (1, "celery@mails-$(POD_NAME)")
    with pytest.raises(config.ConfigError, match=r"AUTOSCALER_WORKER is .* was not replaced"):
        config.load({}, {**given, "REDIS_URL_FILE": "", "REDIS_URL": "redis://redis/0"})


def test_the_limits_of_a_worker_behind_another_container_are_two_lines(tmp_path: Path):
    deployment = yaml.safe_load((KUBERNETES / "examples/own-worker/worker.yaml").read_text())
    deployment["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    pod = pods(with_patches(tmp_path, 2, 0, worker=yaml.safe_dump(deployment)))["mailer"]
    assert [container["name"] for container in pod["spec"]["containers"]] == ["proxy", "celery"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    items = volumes["celery-autoscaler-limits"]["downwardAPI"]["items"]
    assert [item["resourceFieldRef"]["containerName"] for item in items] == ["celery", "celery"]


def test_the_workers_name_its_secret_and_its_settings_are_a_few_lines(tmp_path: Path):
    objects = with_patches(tmp_path, 0)
    pod = pods(objects)["mailer"]
    given = variables(sidecar(pod), metadata_name="pod")
    assert given["AUTOSCALER_WORKER"] == "mails@pod"
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["celery-broker"]["secret"] == {
        "secretName": "mailer",
        "defaultMode": 0o444,
        "items": [{"key": "BROKER", "path": "REDIS_URL"}],
    }
    settings = one(objects, "ConfigMap", "celery-autoscaler")
    assert sidecar(pod)["envFrom"] == [
        {"configMapRef": {"name": settings["metadata"]["name"], "optional": True}}
    ]


def test_a_kustomization_that_names_nothing_is_refused(tmp_path: Path):
    (tmp_path / "kustomization.yaml").write_text("resources: [worker.yaml]\n")
    with pytest.raises(BuildError, match=r"worker\.yaml"):
        built_from(tmp_path)


def test_the_alerts_are_those_of_the_rules_and_the_generator_writes_them():
    assert WRITTEN.read_text() == prometheus_rule(), "run: uv run python -m tests.support.prometheus_rule"
    rules = yaml.safe_load((TOP / "deploy/prometheus/rules.yml").read_text())
    assert one(built("base"), "PrometheusRule", "celery-autoscaler")["spec"] == rules


@pytest.mark.parametrize("folder", OWN)
def test_every_pod_is_restricted(folder: str):
    found = {name: list(breaches(pod)) for name, pod in pods(built(folder)).items()}
    assert found == {"docservice-api": [], "docservice-migrate": [], "docservice-worker": []}


def test_a_breach_is_named():
    pod = copy.deepcopy(pods(built("base"))["docservice-worker"])
    pod["spec"]["hostPID"] = True
    pod["spec"]["volumes"].append({"name": "root", "hostPath": {"path": "/"}})
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    del sidecar(pod)["securityContext"]["capabilities"]
    assert list(breaches(pod)) == [
        "hostPID",
        "volume root",
        "autoscaler: capabilities",
        "worker: allowPrivilegeEscalation",
    ]


@pytest.mark.parametrize("folder", OWN)
def test_every_pod_has_a_read_only_tree_limits_and_no_token_of_the_cluster(folder: str):
    for pod in pods(built(folder)).values():
        spec = pod["spec"]
        assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("docservice", False)
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]
    account = one(built(folder), "ServiceAccount", "docservice")
    assert account["automountServiceAccountToken"] is False
    assert [item["kind"] for item in built(folder) if "Role" in item["kind"]] == []


def selected(objects: tuple[Manifest, ...], labels: dict[str, str]) -> set[str]:
    return {
        name
        for name, pod in pods(objects).items()
        if labels.items() <= pod["metadata"].get("labels", {}).items()
    }


@pytest.mark.parametrize("folder", OWN)
def test_what_selects_pods_finds_those_that_it_means(folder: str):
    found = {}
    for item in built(folder):
        spec = item.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        if selector:
            labels = selector.get("matchLabels", selector)
            found[item["kind"], item["metadata"]["name"]] = selected(built(folder), labels)
    api, worker, migrate = "docservice-api", "docservice-worker", "docservice-migrate"
    assert found == {
        ("Service", "docservice"): {api},
        ("Deployment", api): {api},
        ("Deployment", worker): {worker},
        ("PodDisruptionBudget", api): {api},
        ("PodDisruptionBudget", worker): {worker},
        ("NetworkPolicy", "docservice"): {api, worker, migrate},
        ("NetworkPolicy", api): {api},
        ("PodMonitor", api): {api},
        ("PodMonitor", "celery-autoscaler"): {worker},
    }


@pytest.mark.parametrize("folder", OWN)
def test_every_port_that_is_named_is_one_that_a_container_opens(folder: str):
    opened: dict[str, list[str]] = {}
    for name, pod in pods(built(folder)).items():
        opened[name] = [port["name"] for container in containers(pod) for port in container.get("ports", ())]
    assert opened == {
        "docservice-api": ["http"],
        "docservice-worker": ["autoscaler"],
        "docservice-migrate": [],
    }
    named = set(re.findall(r"(?:targetPort|port): ([a-z]+)", yaml.safe_dump_all(built(folder))))
    assert named == {"http", "autoscaler"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_volume_and_setting_that_is_used_is_there(folder: str):
    objects = built(folder)
    there = {(item["kind"], item["metadata"]["name"]) for item in objects}
    secrets = set()
    for pod in pods(objects).values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        used = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", ())}
        assert used == set(volumes)
        secrets |= {volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume}
        claims = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        ]
        maps = [
            source["configMapRef"]["name"]
            for container in containers(pod)
            for source in container.get("envFrom", ())
        ]
        assert {("PersistentVolumeClaim", name) for name in claims} <= there
        assert {("ConfigMap", name) for name in maps} <= there
    # Secrets are the operator's own: the guide makes each.
    made = set(re.findall(r"create secret generic (\S+)", GUIDE.read_text()))
    assert secrets <= made
    assert [item for item in objects if item["kind"] == "Secret"] == []


@pytest.mark.parametrize("folder", [*OWN, "examples/document-service"])
def test_each_part_logs_in_to_redis_as_a_user_of_its_own(folder: str):
    found = {}
    for pod in pods(built(folder)).values():
        volumes = {volume["name"]: volume.get("secret", {}) for volume in pod["spec"]["volumes"]}
        for container in containers(pod):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            place, _, key = variables(container, metadata_name="pod")["REDIS_URL_FILE"].rpartition("/")
            found[container["name"]] = (volumes[mounts[place]]["secretName"], key)
    made = re.findall(
        r"secret generic (\S+) --from-file=(REDIS_URL)=deploy/secrets/(\w+)\.url", GUIDE.read_text()
    )
    users = {(secret, key): user for secret, key, user in made}
    told = {"api": "api", "migrate": "api", "worker": "worker", "autoscaler": "autoscaler"}
    told |= {"backup": "api", "scaler": "keda"} if folder.startswith("examples") else {}
    assert {name: users[place] for name, place in found.items()} == told
    acl = (TOP / "deploy/redis/users.acl").read_text().splitlines()
    assert set(told.values()) <= {line.split()[1] for line in acl}


def programs(container: Manifest) -> set[str]:
    """The variables that the program of a container reads."""
    if container["image"].endswith("celery-pool-autoscaler"):
        return {setting.variable for setting in config.ALL} | {"POD_NAME", "CELERY_NODE"}
    names = {item.metadata["name"] for item in fields(Settings)}
    return names | {f"{name}_FILE" for name in names} | {"POD_NAME"}


@pytest.mark.parametrize("folder", OWN)
def test_every_variable_is_one_that_the_program_reads(folder: str):
    for pod in pods(built(folder)).values():
        for container in containers(pod):
            given = variables(container, metadata_name="pod")
            assert set(given) - programs(container) == set()
            assert [value for value in given.values() if "$(" in value] == []
    settings = one(built(folder), "ConfigMap", "celery-autoscaler")["data"]
    assert set(settings) - {setting.variable for setting in config.ALL} == set()
    given = variables(sidecar(pods(built(folder))["docservice-worker"]), metadata_name="pod")
    whole = config.load({}, {**settings, **given, "REDIS_URL_FILE": "", "REDIS_URL": "redis://redis/0"})
    assert (sorted(whole.scope.workers), whole.name) == (["worker@pod"], "docservice")


def parsed(program: click.Group, words: list[str]) -> None:
    """Raise where a command line is not one of the program's."""
    command = program.get_command(click.Context(program), words[0])
    assert command, words[0]
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_is_one_of_its_program_and_a_drain_ends_before_the_pod(folder: str):
    for pod in pods(built(folder)).values():
        for container in pod["spec"]["containers"]:
            if container["image"].endswith("docservice"):
                parsed(docservice, container["args"])
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
            if "drain" in " ".join(hook):
                words = shlex.split(hook[-1])
                assert words[:2] == ["exec", "autoscaler"]
                parsed(autoscaler, words[2:])
                deadline = int(words[words.index("--deadline") + 1])
                assert pod["spec"]["terminationGracePeriodSeconds"] >= deadline + 35


def test_qa_is_the_base_in_a_namespace_of_its_own_and_smaller():
    objects = built("overlays/qa")
    outside = {item["kind"] for item in objects if item["metadata"].get("namespace") != "docservice-qa"}
    assert outside == {"Namespace"}
    # The worker's are KEDA's to say; without it there is one.
    stated = {
        item["metadata"]["name"]: item["spec"].get("replicas")
        for item in objects
        if item["kind"] == "Deployment"
    }
    assert stated == {"docservice-api": None, "docservice-worker": None}
    hpa = one(objects, "HorizontalPodAutoscaler", "docservice-api")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (1, 2)
    more = {"Namespace", "HorizontalPodAutoscaler", "Ingress"}
    kinds = sorted(item["kind"] for item in objects if item["kind"] not in more)
    assert kinds == sorted(item["kind"] for item in built("base"))
    labels = one(objects, "Namespace", "docservice-qa")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
