"""The chart, rendered by Helm's own engine from a wheel: legal, and the same as the Kustomize folders."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from autoscaler.settings import load as config
from tests.deploy.manifests import Manifest, breaches, built, built_from, containers, one, pods, variables
from tests.deploy.test_keda_manifests import SCALED_OBJECT
from tests.deploy.test_kubernetes import is_legal, optional
from tests.deploy.test_runbooks import ALERTS, runbooks
from tests.deploy.tools import TOP

if TYPE_CHECKING:
    from pathlib import Path

CHART = TOP / "deploy/helm"
ALL: dict[str, Any] = {
    "daemon": {"enabled": True},
    "keda": {
        "enabled": True,
        "scaledObjects": [{"deployment": "docservice-worker", "queue": "celery", "processesPerWorker": 4}],
    },
    "docservice": {
        "enabled": True,
        "api": {"autoscaling": {"enabled": True}},
        "ingress": {"enabled": True, "className": "nginx"},
    },
    "monitoring": {"enabled": True},
}


def rendered(values: dict[str, Any], chart: Path = CHART) -> tuple[Manifest, ...]:
    """The objects of the chart; Helm's values are merged below these."""
    helm = optional("helm_python")
    files = helm.Chart.load(str(chart)).render(values, name="release", namespace="mails")
    documents = [document for text in files.values() for document in yaml.safe_load_all(text)]
    return tuple(document for document in documents if document)


def test_helm_finds_no_fault_in_the_chart():
    found = optional("helm_python").lint(str(CHART), ALL, strict=True)
    assert (found["errors"], [m["error"] for m in found["messages"]]) == ([], ["icon is recommended"])


def test_without_a_value_it_makes_the_settings_alone():
    assert [(item["kind"], item["metadata"]["name"]) for item in rendered({})] == [
        ("ConfigMap", "celery-autoscaler")
    ]


def test_numbers_reach_the_variables_as_they_were_written():
    given = {"AUTOSCALER_NAME": 42, "AUTOSCALER_MEMORY_PER_PROCESS": 1048576000, "AUTOSCALER_INTERVAL": 0.5}
    found = rendered({**ALL, "settings": given})
    data = one(found, "ConfigMap", "celery-autoscaler")["data"]
    assert {name: data[name] for name in given} == {
        "AUTOSCALER_NAME": "42",
        "AUTOSCALER_MEMORY_PER_PROCESS": "1048576000",
        "AUTOSCALER_INTERVAL": "0.5",
    }
    assert config.load({"redis_url": "redis://r"}, data).policy.memory_per_process_bytes == 1048576000
    every = [box for pod in pods(found).values() for box in containers(pod)]
    entries = [entry for box in every for entry in box.get("env", ())]
    assert [entry for entry in entries if not isinstance(entry.get("value", ""), str)] == []


def test_changed_settings_start_every_pod_again_that_reads_them():
    def marks(settings: dict[str, Any]) -> dict[str, Any]:
        templates = pods(rendered({**ALL, "settings": settings})).items()
        return {name: template["metadata"].get("annotations") for name, template in templates}

    before, after = marks({}), marks({"AUTOSCALER_MAX": 9})
    changed = [name for name in before if before[name] != after[name]]
    assert sorted(changed) == ["autoscaler-keda", "celery-autoscaler", "docservice-worker"]


def test_every_object_is_one_that_the_cluster_keda_and_the_operator_know():
    for item in rendered(ALL):
        if item["kind"] == "ScaledObject":
            schema = {
                **SCALED_OBJECT,
                "properties": {**SCALED_OBJECT["properties"], "metadata": {"required": ["name"]}},
            }
            optional("jsonschema").validate(item, schema)
        else:
            assert is_legal(item, "1.29"), item["kind"]
            assert is_legal(item, "1.37"), item["kind"]


def test_every_pod_is_restricted():
    found = {name: list(breaches(pod)) for name, pod in pods(rendered(ALL)).items()}
    assert found == {
        "autoscaler-keda": [],
        "celery-autoscaler": [],
        "docservice-api": [],
        "docservice-migrate": [],
        "docservice-worker": [],
    }


def compared(item: Manifest) -> Any:
    """What is compared of an object: all but labels and hashes, and volumes in the order of their names."""
    text = yaml.safe_dump(item.get("spec", {}))
    spec = yaml.safe_load(text)
    if isinstance(spec, dict) and "metadata" in spec.get("template", {}):
        spec["template"]["metadata"].pop("annotations", None)  # the hash is in a name there
    template = spec.get("template", {}).get("spec", {}) if isinstance(spec, dict) else {}
    if "volumes" in template:
        template["volumes"].sort(key=lambda volume: volume["name"])
    for container in (*template.get("initContainers", ()), *template.get("containers", ())):
        for source in container.get("envFrom", ()):
            name = source["configMapRef"]["name"]
            source["configMapRef"]["name"] = "celery-autoscaler" if "celery-autoscaler" in name else name
    return spec


def test_the_document_service_and_the_scaler_are_those_of_kustomize():
    chart = rendered(
        {"docservice": {"enabled": True}, "keda": {"enabled": True}, "monitoring": {"enabled": True}}
    )
    kustomize = [*built("base"), *built_from(TOP / "deploy/keda")]
    different = []
    for item in kustomize:
        if item["kind"] in {"ConfigMap", "ScaledObject"}:
            continue
        same = one(chart, item["kind"], item["metadata"]["name"])
        wanted = compared(item)
        if item["kind"] == "Job":  # a hook runs before the service account is there
            wanted["template"]["spec"].pop("serviceAccountName")
        if compared(same) != wanted:
            different.append((item["kind"], item["metadata"]["name"]))
    assert different == []
    base = one(built("base"), "ConfigMap", "celery-autoscaler")["data"]
    assert one(chart, "ConfigMap", "celery-autoscaler")["data"] == base


def test_the_scaled_object_is_that_of_kustomize_for_another_deployment():
    chart = one(rendered(ALL), "ScaledObject", "docservice-worker")["spec"]
    spec = one(built_from(TOP / "deploy/keda"), "ScaledObject", "worker")["spec"]
    spec["scaleTargetRef"]["name"] = "docservice-worker"
    metadata = spec["triggers"][0]["metadata"]
    metadata |= {
        "processesPerWorker": "4",
        "scalerAddress": "autoscaler-keda.mails.svc.cluster.local:9810",
    }
    assert chart == spec


def test_the_replicas_are_the_hpas_where_there_is_one():
    objects = rendered(ALL)
    api = one(objects, "Deployment", "docservice-api")["spec"]
    hpa = one(objects, "HorizontalPodAutoscaler", "docservice-api")["spec"]
    assert ("replicas" in api, hpa["scaleTargetRef"]["name"]) == (False, "docservice-api")
    ingress = one(objects, "Ingress", "docservice")["spec"]
    assert ingress["tls"] == [{"hosts": ["documents.example.com"], "secretName": "docservice-tls"}]


def test_the_variables_are_those_of_the_programs():
    known = {setting.variable for setting in (*config.ALL, *config.KEDA)} | {"POD_NAME", "CELERY_NODE"}
    objects = rendered({**ALL, "keda": {"enabled": True, "tls": {"secret": "s"}}})
    for name in ("autoscaler-keda", "celery-autoscaler"):
        (container,) = containers(pods(objects)[name])
        assert set(variables(container, metadata_name="pod")) - known == set()
    assert set(one(objects, "ConfigMap", "celery-autoscaler")["data"]) - known == set()


def test_the_hpa_and_the_ingress_are_those_of_kustomize():
    chart = rendered(
        {
            "docservice": {
                "enabled": True,
                "api": ALL["docservice"]["api"],
                "ingress": {"enabled": True, "className": "nginx", "host": "docs.example.org"},
            }
        }
    )
    for kind, name in (("HorizontalPodAutoscaler", "docservice-api"), ("Ingress", "docservice")):
        same = one(built("examples/document-service"), kind, name)
        assert compared(one(chart, kind, name)) == compared(same)


def secrets(objects: tuple[Manifest, ...]) -> dict[str, set[str]]:
    """The secrets that each workload reads."""
    return {
        name: {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
        for name, pod in pods(objects).items()
    }


def test_one_secret_may_serve_all_parts_of_the_document_service():
    found = secrets(rendered({"docservice": {"enabled": True, "secret": "docservice"}}))
    assert found == {
        name: {"docservice"} for name in ("docservice-api", "docservice-migrate", "docservice-worker")
    }


def test_the_alerts_link_to_the_runbooks_that_a_value_names():
    objects = rendered({"monitoring": {"enabled": True, "runbooks": "https://wiki.example.com/runbooks"}})
    assert runbooks(one(objects, "PrometheusRule", "celery-autoscaler")["spec"]) == {
        alert: f"https://wiki.example.com/runbooks#{alert.lower()}" for alert in ALERTS
    }
    helm = optional("helm_python")
    with pytest.raises(helm.HelmError, match="runbooks"):
        rendered({"monitoring": {"runbooks": "docs/runbooks.md"}})


def test_a_value_that_it_does_not_know_is_refused():
    helm = optional("helm_python")
    with pytest.raises(helm.HelmError, match="proccessesPerWorker"):
        rendered({"keda": {"scaledObjects": [{"proccessesPerWorker": 4}]}})


def test_a_chart_of_ones_own_adds_the_sidecar_to_its_worker(tmp_path: Path):
    own = tmp_path / "mailer"
    shutil.copytree(CHART, own / "charts/celery-pool-autoscaler")
    (own / "templates").mkdir()
    (own / "Chart.yaml").write_text("apiVersion: v2\nname: mailer\nversion: 0.1.0\n")
    worker = (TOP / "deploy/kubernetes/examples/own-worker/worker.yaml").read_text()
    words = '(dict "image" "registry.example.com/celery-pool-autoscaler:0.1.0")'
    volumes = '(dict "container" "celery")'
    library = "celery-pool-autoscaler"
    added = (
        f'      initContainers:\n        {{{{- include "{library}.sidecar" {words} | nindent 8 }}}}\n'
        "      containers:\n"
    )
    more = f'      volumes:\n        {{{{- include "{library}.volumes" {volumes} | nindent 8 }}}}\n'
    written = worker.replace("      containers:\n", added).replace("      volumes:\n", more)
    (own / "templates/worker.yaml").write_text(written)
    deployment = one(rendered({}, own), "Deployment", "mailer")
    by_kustomize = one(built("examples/own-worker"), "Deployment", "mailer")
    assert compared(deployment)["template"]["spec"] == compared(by_kustomize)["template"]["spec"]
