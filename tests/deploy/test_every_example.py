"""Every pod template that deploy/ and the documents show, whoever renders it, has what production needs."""

from __future__ import annotations

import copy
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.deploy.manifests import WORKLOADS, Manifest, breaches, built_from, containers, pods
from tests.deploy.test_helm import ALL, rendered
from tests.deploy.tools import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Every folder that `kubectl apply -k` takes. Components are in those that use them.
FOLDERS = sorted(
    path.parent
    for path in (TOP / "deploy").rglob("kustomization.yaml")
    if yaml.safe_load(path.read_text())["kind"] == "Kustomization" and path.parent.name != "address"
)
COMPONENTS = sorted(
    path.parent
    for path in (TOP / "deploy").rglob("kustomization.yaml")
    if yaml.safe_load(path.read_text())["kind"] == "Component"
)
PAGES = sorted([*(TOP / "docs").glob("*.md"), *(TOP / "deploy").rglob("*.md"), TOP / "README.md"])


def gaps(kind: str, pod: Manifest) -> Iterator[str]:
    """What a pod template of a workload lacks."""
    yield from breaches(pod)
    spec = pod["spec"]
    told = {
        "grace period": isinstance(spec.get("terminationGracePeriodSeconds"), int),
        "no token of the cluster": spec.get("automountServiceAccountToken") is False,
        "no variables of services": spec.get("enableServiceLinks") is False,
    }
    for container in containers(pod):
        resources, name = container.get("resources", {}), container["name"]
        told |= {
            f"{name}: read-only root": container.get("securityContext", {}).get("readOnlyRootFilesystem")
            is True,
            f"{name}: requests": {"cpu", "memory"} <= set(resources.get("requests", ())),
            f"{name}: memory limit": "memory" in resources.get("limits", ()),
        }
        probes = {"livenessProbe"} if kind == "Deployment" else set()
        if "ports" in container:  # what is asked, and not only watched
            probes |= {"startupProbe", "readinessProbe"}
        told |= {f"{name}: {probe}": probe in container for probe in probes}
    yield from sorted(what for what, kept in told.items() if not kept)


def all_gaps(objects: tuple[Manifest, ...]) -> dict[str, list[str]]:
    kinds = {item["metadata"]["name"]: item["kind"] for item in objects if item["kind"] in WORKLOADS}
    return {name: list(gaps(kinds[name], pod)) for name, pod in pods(objects).items()}


def named(path: Path) -> str:
    return str(path.relative_to(TOP / "deploy"))


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_every_pod_of_a_folder_has_what_production_needs(folder: Path):
    found = all_gaps(built_from(folder))
    assert found
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_every_component_is_used_by_an_example_or_built_here():
    used = {
        (path.parent / part).resolve()
        for path in (TOP / "deploy").rglob("kustomization.yaml")
        for part in yaml.safe_load(path.read_text()).get("components", ())
    }
    assert {named(one) for one in COMPONENTS} - {named(one) for one in used} == {
        "keda/podmonitor",
        "keda/tls",
    }


@pytest.mark.parametrize("component", ["podmonitor", "tls"])
def test_every_pod_of_keda_with_a_component_has_what_production_needs(component: str, tmp_path: Path):
    keda = os.path.relpath(TOP / "deploy/keda", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{keda}]\ncomponents: [{keda}/{component}]\n")
    assert all_gaps(built_from(tmp_path)) == {"autoscaler-keda": []}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(ALL, id="everything"),
        pytest.param({"daemon": {"enabled": True}}, id="daemon"),
        pytest.param({"keda": {"enabled": True, "tls": {"secret": "tls"}}}, id="keda with TLS"),
        pytest.param({"docservice": {"enabled": True}}, id="document service"),
    ],
)
def test_every_pod_of_the_chart_has_what_production_needs(values: dict[str, Any]):
    found = all_gaps(rendered(values))
    assert found
    assert {name: missing for name, missing in found.items() if missing} == {}


def shown() -> Iterator[tuple[str, Manifest]]:
    """The whole objects with a pod template that the documents show; patches have no image."""
    for page in PAGES:
        for block in re.findall(r"```ya?ml\n(.*?)```", page.read_text(), flags=re.DOTALL):
            for item in yaml.safe_load_all(block):
                template = isinstance(item, dict) and (item.get("spec") or {}).get("template")
                if template and "image:" in block:
                    yield page.name, item


def test_every_pod_that_a_document_shows_has_what_production_needs():
    found = {page: list(gaps(item["kind"], item["spec"]["template"])) for page, item in shown()}
    assert {page: missing for page, missing in found.items() if missing} == {}


def test_what_is_missing_is_named():
    (pod,) = (pod for name, pod in pods(built_from(TOP / "deploy/kubernetes/base")).items() if "api" in name)
    bare = copy.deepcopy(pod)
    del bare["spec"]["terminationGracePeriodSeconds"], bare["spec"]["securityContext"]["seccompProfile"]
    (container,) = bare["spec"]["containers"]
    del container["readinessProbe"], container["resources"]["requests"]["cpu"]
    container["securityContext"]["readOnlyRootFilesystem"] = False
    assert list(gaps("Deployment", bare)) == [
        "api: seccompProfile",
        "api: read-only root",
        "api: readinessProbe",
        "api: requests",
        "grace period",
    ]
