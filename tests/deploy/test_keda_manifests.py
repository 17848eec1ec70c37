"""deploy/keda as the cluster reads it; KEDA's own kind by the part of its definition that is used here."""

from __future__ import annotations

from typing import Any

from autoscaler import config
from tests.deploy.manifests import Manifest, built_from, containers, one, pods
from tests.deploy.test_kubernetes import is_legal, optional
from tests.deploy.tools import TOP

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
        "metadata": exactly({"name": {"type": "string"}}),
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
    return built_from(TOP / "deploy/keda")


def test_every_object_is_one_that_the_cluster_and_keda_know():
    for item in objects():
        if item["kind"] == "ScaledObject":
            optional("jsonschema").validate(item, SCALED_OBJECT)
        else:
            assert is_legal(item, "1.29"), item["kind"]
            assert is_legal(item, "1.37"), item["kind"]


def test_the_scaled_object_asks_the_service_and_the_service_finds_the_scaler():
    found = objects()
    scaled, service = one(found, "ScaledObject", "worker"), one(found, "Service", "autoscaler-keda")
    pod = pods(found)["autoscaler-keda"]
    host, _, port = scaled["spec"]["triggers"][0]["metadata"]["scalerAddress"].partition(":")
    assert host.partition(".")[0] == service["metadata"]["name"]
    assert [str(entry["port"]) for entry in service["spec"]["ports"]] == [port]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = containers(pod)
    opened = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    assert opened[service["spec"]["ports"][0]["targetPort"]] == int(port)
    known = {setting.variable for setting in (*config.ALL, *config.KEDA)}
    assert {entry["name"] for entry in container["env"]} <= known
