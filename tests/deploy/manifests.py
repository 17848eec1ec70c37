"""What `kubectl kustomize` makes of the folders under deploy/kubernetes, and how it hangs together."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy.tools import TOP, run_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Manifest = dict[str, Any]
KUBERNETES = TOP / "deploy/kubernetes"


class BuildError(RuntimeError):
    """kubectl refused a kustomization; the message is its own."""


@cache
def built(folder: str) -> tuple[Manifest, ...]:
    """The objects of one folder under deploy/kubernetes."""
    return built_from(KUBERNETES / folder)


def built_from(folder: Path) -> tuple[Manifest, ...]:
    """The objects of a kustomization.

    Raises:
        BuildError: when it is refused.
    """
    code, said = run_tool("kubectl", "kustomize", folder)
    if code:
        raise BuildError(said)
    return tuple(yaml.safe_load_all(said))


def one(objects: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    """The object of that kind and name; a generated name may go on behind a dash."""
    (found,) = (
        item
        for item in objects
        if item["kind"] == kind and re.fullmatch(f"{name}(-[a-z0-9]{{10}})?", item["metadata"]["name"])
    )
    return found


#: What makes pods.
WORKLOADS = frozenset({"Deployment", "Job", "CronJob"})


def pods(objects: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """The pod templates of the workloads, by the workload's name."""
    found = {}
    for item in objects:
        spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item.get("spec", {})
        if item["kind"] in WORKLOADS:
            found[item["metadata"]["name"]] = spec["template"]
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod template, those that start first in front."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def variables(container: Manifest, **downward: str) -> dict[str, str]:
    """The variables that stand in a container itself, ``$(...)`` put in as the kubelet does: in their order.

    ``downward`` has the values of fields of the pod by path, dots as underscores.
    """
    given: dict[str, str] = {}
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        text = variable.get("value", "") if source is None else downward[source.replace(".", "_")]
        given[variable["name"]] = re.sub(
            r"\$\(([A-Za-z_]+)\)", lambda found: given.get(found[1], found[0]), text
        )
    return given


def breaches(pod: Manifest) -> Iterator[str]:
    """Where a pod template goes beyond the `restricted` Pod Security Standard, as of Kubernetes 1.37."""
    spec = pod["spec"]
    shared = spec.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    legal = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
    legal |= {"projected", "secret"}
    yield from (f"volume {volume['name']}" for volume in spec.get("volumes", ()) if not legal & set(volume))
    for container in containers(pod):
        own = container.get("securityContext", {})
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "runAsNonRoot": own.get("runAsNonRoot", shared.get("runAsNonRoot")) is True,
            "runAsUser": own.get("runAsUser", shared.get("runAsUser", 1)) != 0,
            "seccompProfile": (own.get("seccompProfile") or shared.get("seccompProfile"))
            == {"type": "RuntimeDefault"},
            "hostPort": not any("hostPort" in port for port in container.get("ports", ())),
        }
        yield from (f"{container['name']}: {rule}" for rule, kept in rules.items() if not kept)
