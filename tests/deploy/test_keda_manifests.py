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
    (volume,), (mount,) = pod["spec"]["volumes"], container["volumeMounts"]
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
