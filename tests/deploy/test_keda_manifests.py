"""deploy/keda as the cluster reads it; KEDA's own kind by the part of its definition that is used here."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from autoscaler.settings import load as config
from tests.deploy.manifests import Manifest, breaches, built_from, containers, one, pods, variables
from tests.deploy.test_kubernetes import is_legal, optional
from tests.deploy.tools import TOP

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = TOP / "deploy/keda"
GUIDE = TOP / "docs/keda.md"
WHOLE = {"type": "integer", "minimum": 0}


def exactly(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with these fields, all of them, and none besides."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


POLICY = exactly({"type": {"enum": ["Pods", "Percent"]}, "value": WHOLE, "periodSeconds": WHOLE})
RULES = exactly({"stabilizationWindowSeconds": WHOLE, "policies": {"type": "array", "items": POLICY}})
BEHAVIOR = exactly({"scaleUp": RULES, "scaleDown": RULES})
TRIGGER = exactly(
    {
        "type": {"enum": ["external", "external-push"]},
        "metadata": {"additionalProperties": {"type": "string"}},
    }
)
SCALED_OBJECT = exactly(
    {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": exactly({"name": {"type": "string"}, "namespace": {"type": "string"}}),
        "spec": exactly(
            {
                "scaleTargetRef": exactly({"name": {"type": "string"}}),
                "minReplicaCount": WHOLE,
                "maxReplicaCount": WHOLE,
                "pollingInterval": WHOLE,
                "cooldownPeriod": WHOLE,
                "advanced": exactly({"horizontalPodAutoscalerConfig": exactly({"behavior": BEHAVIOR})}),
                "triggers": {"type": "array", "items": TRIGGER},
            }
        ),
    }
)


def objects() -> tuple[Manifest, ...]:
    return built_from(FOLDER)


def test_every_object_is_one_that_the_cluster_and_keda_know():
    for item in objects():
        if item["kind"] == "ScaledObject":
            optional("jsonschema").validate(item, SCALED_OBJECT)
        else:
            assert is_legal(item, "1.29"), item["kind"]
            assert is_legal(item, "1.37"), item["kind"]


def address_of(found: tuple[Manifest, ...], name: str) -> str:
    """Where KEDA dials for the ScaledObject of that name."""
    scaled: str = one(found, "ScaledObject", name)["spec"]["triggers"][0]["metadata"]["scalerAddress"]
    return scaled


def test_the_scaled_object_asks_the_service_and_the_service_finds_the_scaler():
    found = objects()
    service, pod = one(found, "Service", "autoscaler-keda"), pods(found)["autoscaler-keda"]
    (port,) = service["spec"]["ports"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert address_of(found, "worker") == f"{name}.{namespace}.svc.cluster.local:{port['port']}"
    assert address_of(found, "worker") == "autoscaler-keda.default.svc.cluster.local:9810"
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = containers(pod)
    opened = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    assert opened[port["targetPort"]] == port["port"]


def test_the_scaler_has_the_settings_of_the_sidecars_and_the_address_in_a_file():
    pod = pods(objects())["autoscaler-keda"]
    (container,) = containers(pod)
    volume, temporary = pod["spec"]["volumes"]
    mount, _ = container["volumeMounts"]
    assert temporary == {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    assert list(breaches(pod)) == []
    assert container["image"] == "celery-pool-autoscaler"
    assert container["envFrom"] == [{"configMapRef": {"name": "celery-autoscaler", "optional": True}}]
    assert volume == {
        "name": mount["name"],
        "secret": {
            "secretName": "autoscaler-keda",
            "defaultMode": 0o440,
            "items": [{"key": "REDIS_URL", "path": "REDIS_URL"}],
        },
    }
    assert variables(container) == {"REDIS_URL_FILE": f"{mount['mountPath']}/REDIS_URL"}
    created = "create secret generic autoscaler-keda --from-file=REDIS_URL="
    assert created in GUIDE.read_text()


def with_components(folder: Path, *components: str, namespace: str = "mails") -> tuple[Manifest, ...]:
    """deploy/keda with components, in a namespace."""
    shutil.copytree(FOLDER, folder / "keda")
    lines = ["resources: [../keda]", "transformers: [../keda/address]", f"namespace: {namespace}"]
    lines.append(f"components: [{', '.join(f'../keda/{name}' for name in components)}]")
    (folder / "own").mkdir()
    (folder / "own/kustomization.yaml").write_text("\n".join(lines) + "\n")
    return built_from(folder / "own")


def test_with_tls_the_scaler_reads_what_cert_manager_writes_and_keda_shows_its_own(tmp_path: Path):
    found = with_components(tmp_path, "tls")
    pod = pods(found)["autoscaler-keda"]
    (container,) = containers(pod)
    assert list(breaches(pod)) == []
    told = variables(container)
    assert set(told) <= {f"{one.variable}" for one in (*config.ALL, *config.KEDA)}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume}
    files = [told[f"AUTOSCALER_KEDA_{name}"] for name in ("TLS_CERT", "TLS_KEY", "CLIENT_CA")]
    assert files == [f"{mounts['tls']}/{name}" for name in ("tls.crt", "tls.key", "ca.crt")]
    server = one(found, "Certificate", "autoscaler-keda-tls")["spec"]
    assert volumes["tls"]["secretName"] == server["secretName"]
    dialled = address_of(found, "worker").partition(":")[0]
    assert server["dnsNames"] == [dialled] == ["autoscaler-keda.mails.svc.cluster.local"]
    shown = one(found, "TriggerAuthentication", "autoscaler-keda")
    client = one(found, "Certificate", "autoscaler-keda-client")["spec"]
    references = shown["spec"]["secretTargetRef"]
    assert {reference["name"] for reference in references} == {client["secretName"]}
    assert [reference["parameter"] for reference in references] == ["caCert", "tlsClientCert", "tlsClientKey"]
    trigger = one(found, "ScaledObject", "worker")["spec"]["triggers"][0]
    assert trigger["authenticationRef"] == {"name": shown["metadata"]["name"]}


def test_prometheus_finds_the_scaler_and_the_policy_lets_it_in(tmp_path: Path):
    found = with_components(tmp_path, "podmonitor")
    monitor = one(found, "PodMonitor", "autoscaler-keda")
    assert is_legal(monitor, "1.37")
    pod = pods(found)["autoscaler-keda"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = containers(pod)
    opened = {port["name"]: port["containerPort"] for port in container["ports"]}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    policy = one(found, "NetworkPolicy", "autoscaler-keda")["spec"]["ingress"]
    admitted = {
        entry["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: [
            port["port"] for port in entry["ports"]
        ]
        for entry in policy
    }
    assert admitted == {"keda": [opened["grpc"]], "monitoring": [opened[endpoint["port"]]]}


def test_the_readmes_folder_moves_the_scaler_its_address_its_name_and_its_target(tmp_path: Path):
    shutil.copytree(FOLDER, tmp_path / "keda")
    lines = re.findall(r"```yaml\n(apiVersion.*?)```", GUIDE.read_text(), flags=re.DOTALL)[0]
    local = re.sub(r"https://\S+//deploy/(\S+)\?ref=TAG", r"../\1", lines)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/kustomization.yaml").write_text(local + "namePrefix: eu-\n")
    found = built_from(tmp_path / "own")
    assert {item["metadata"]["namespace"] for item in found} == {"shop"}
    assert address_of(found, "eu-worker") == "eu-autoscaler-keda.shop.svc.cluster.local:9810"
    scaled = one(found, "ScaledObject", "eu-worker")["spec"]
    assert (scaled["scaleTargetRef"], scaled["triggers"][0]["metadata"]["queue"]) == (
        {"name": "mailer"},
        "mails",
    )
    (container,) = containers(pods(found)["eu-autoscaler-keda"])
    assert container["image"] == "registry.example.com/celery-pool-autoscaler:0.1.0"
    given = one(found, "ConfigMap", "eu-celery-autoscaler")
    assert container["envFrom"][0]["configMapRef"]["name"] == given["metadata"]["name"]
    assert given["data"] == {"AUTOSCALER_NAME": "shop"}
    assert config.load({}, {**given["data"], "REDIS_URL": "redis://redis/0"}).name == "shop"
