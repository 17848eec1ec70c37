"""Repositories and role for ECR, as python-hcl2 reads them: Terraform's own check needs the provider."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.test_kubernetes import optional
from tests.deploy.tools import TOP

FOLDER = TOP / "deploy/terraform/ecr"
#: The reader takes seconds to build its grammar.
pytestmark = pytest.mark.slow


def plain(value: Any) -> Any:
    """Without the marks that the reader puts around strings and blocks."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


def blocks(kind: str) -> dict[str, Any]:
    """The blocks of a kind in all files, by their names joined with a dot."""
    found: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("*.tf")):
        for block in plain(optional("hcl2").loads(path.read_text())).get(kind, ()):
            for first, body in block.items():
                if kind in {"resource", "data"}:
                    found |= {f"{first}.{name}": inner for name, inner in body.items()}
                else:
                    found[first] = body
    return found


def one(value: Any) -> Any:
    """The one block in a list of blocks."""
    (found,) = value
    return found


def test_repositories_are_scanned_immutable_and_tidied():
    found = blocks("resource")
    repository = found["aws_ecr_repository.image"]
    assert repository["image_tag_mutability"] == "IMMUTABLE"
    assert one(repository["image_scanning_configuration"])["scan_on_push"] is True
    assert "expire" in str(found["aws_ecr_lifecycle_policy.image"]["policy"])


def test_the_role_trusts_named_subjects_alone_and_may_push_and_nothing_else():
    documents = blocks("data")
    trust = one(documents["aws_iam_policy_document.trust"]["statement"])
    assert {condition["test"] for condition in trust["condition"]} == {"StringEquals"}
    assert trust["actions"] == ["sts:AssumeRoleWithWebIdentity"]
    actions = {
        action: statement["resources"]
        for statement in documents["aws_iam_policy_document.push"]["statement"]
        for action in statement["actions"]
    }
    everywhere = {action for action, resources in actions.items() if resources == ["*"]}
    assert everywhere == {"ecr:GetAuthorizationToken"}
    assert not [action for action in actions if "*" in action or "Delete" in action]
    assert "default" not in blocks("variable")["subjects"]


def test_both_forms_of_a_subject_are_legal_and_a_pattern_is_not():
    text = (FOLDER / "variables.tf").read_text()
    (pattern,) = re.findall(r'regex\("(.+?)", subject', text)
    legal = ["repo:acme@12/mails@34:environment:qa", "repo:acme/mails:environment:qa"]
    assert [bool(re.search(pattern, subject)) for subject in legal] == [True, True]
    illegal = ["repo:acme/*:environment:qa", "repo:acme/mails:ref:refs/heads/main", "*"]
    assert [bool(re.search(pattern, subject)) for subject in illegal] == [False, False, False]


def test_it_puts_out_the_variables_that_the_pipeline_reads():
    out = (FOLDER / "outputs.tf").read_text()
    qa = (TOP / ".github/workflows/qa.yml").read_text()
    assert yaml.safe_load(qa)
    read = set(re.findall(r"vars\.([A-Z_]+)", qa))
    assert read - set(re.findall(r"([A-Z_]+) +=", out)) == {"AWS_REGION"}
    (named,) = re.findall(r"default +=( \[.*\])", (FOLDER / "variables.tf").read_text())
    images = set(re.findall(r'"([a-z-]+)"', named))
    assert images == set(re.findall(r'image\["(.+?)"\]', out))


if shutil.which("terraform"):  # no wheel and no package of Debian brings it

    def test_terraform_would_not_format_it_otherwise():
        done = subprocess.run(
            ("terraform", "fmt", "-check", "-recursive", FOLDER), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")
