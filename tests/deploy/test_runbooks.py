"""Every alert leads to its section of docs/runbooks.md: by name, or by a link to an address that is given."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy.manifests import KUBERNETES, built, built_from, one
from tests.deploy.tools import TOP

if TYPE_CHECKING:
    from pathlib import Path

RULES = yaml.safe_load((TOP / "deploy/prometheus/rules.yml").read_text())
ALERTS = [rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
SCRIPT = TOP / "deploy/prometheus/runbooks"
ADDRESS = "https://wiki.example.com/runbooks"
LINKS = {alert: f"{ADDRESS}#{alert.lower()}" for alert in ALERTS}


def runbooks(spec: dict[str, Any]) -> dict[str, str]:
    """The runbook of each alert of some rules."""
    return {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for group in spec["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


def test_as_shipped_each_names_a_section_that_is_there_and_no_address_that_is_nobodys():
    headings = re.findall(r"(?m)^### (\w+)$", (TOP / "docs/runbooks.md").read_text())
    assert sorted(headings) == sorted(ALERTS)
    assert runbooks(RULES) == {alert: f"docs/runbooks.md#{alert.lower()}" for alert in ALERTS}
    assert runbooks(one(built("base"), "PrometheusRule", "celery-autoscaler")["spec"]) == runbooks(RULES)


def test_the_command_prints_the_rules_with_links_and_changes_nothing_else():
    done = subprocess.run([SCRIPT, ADDRESS], capture_output=True, text=True, check=True)
    assert runbooks(yaml.safe_load(done.stdout)) == LINKS
    assert (
        done.stdout.replace(f"{ADDRESS}#", "docs/runbooks.md#") == SCRIPT.with_name("rules.yml").read_text()
    )


def test_the_command_refuses_what_is_no_address():
    for words in (
        [],
        ["docs/runbooks.md"],
        ["https://"],
        [f"{ADDRESS}#x"],
        [f"{ADDRESS}|x"],
        [f"{ADDRESS} x"],
    ):
        done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert len(done.stderr.splitlines()) == 1


def test_the_example_of_kustomize_links_each_alert_and_applies_no_object_for_it():
    objects = built("examples/document-service")
    assert runbooks(one(objects, "PrometheusRule", "celery-autoscaler")["spec"]) == LINKS
    assert [i["metadata"]["name"] for i in objects if i["kind"] == "ConfigMap" and "url" in i["data"]] == []


def test_the_page_on_alerts_shows_the_lines_that_kustomize_needs(tmp_path: Path):
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    (block,) = re.findall(r"```yaml\n(.*?)```", (TOP / "docs/alerts.md").read_text(), flags=re.DOTALL)
    local = re.sub(r"https://\S+//deploy/(\S+)\?ref=TAG", r"../\1", block)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/kustomization.yaml").write_text(f"resources: [../kubernetes/base]\n{local}")
    found = one(built_from(tmp_path / "own"), "PrometheusRule", "celery-autoscaler")
    assert runbooks(found["spec"]) == LINKS
