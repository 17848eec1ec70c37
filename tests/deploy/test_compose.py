"""The Compose file: legal, confined, free of secrets, and in step with the code it starts."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from autoscaler.demo.embedded import RedisServer
from autoscaler.settings import load as config
from docservice.config import Settings
from tests.deploy.tools import TOP, run_tool
from tests.support.programs import needs

FILE = TOP / "deploy/compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"docservice:local": "docservice", "celery-pool-autoscaler:local": "autoscaler"}
#: Processes of one run; they end by themselves and have no health.
TASKS = {"migrate", "load", "backup"}


def binds(service: dict[str, Any]) -> list[Path]:
    """The files and folders of the repository that a service sees."""
    volumes = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume) for volume in service.get("volumes", ())]
    sources = [volume.partition(":")[0] for volume in volumes]
    return [FILE.parent / source for source in sources if source.startswith((".", "/"))]


def test_it_is_a_compose_file():
    assert run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE) == (
        0,
        "ok -- validation done\n",
    )


def test_a_field_that_compose_does_not_know_is_found(tmp_path: Path):
    (tmp_path / "compose.yaml").write_text(FILE.read_text().replace("mem_limit:", "memory_limit:", 1))
    code, said = run_tool(
        "check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml"
    )
    assert (code, "memory_limit" in said) == (1, True)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_bounded(name: str):
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True,
        ["ALL"],
        ["no-new-privileges:true"],
    )
    assert {"cpus", "mem_limit", "pids_limit"} <= set(service)
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_built_here_or_pinned_by_tag_and_digest(name: str):
    service = SERVICES[name]
    if service["image"] in OURS:
        assert (TOP / service["build"]["dockerfile"]).is_file()
    else:
        assert re.fullmatch(r"[a-z]+(/[a-z]+)?:[0-9a-z.-]+@sha256:[0-9a-f]{64}", service["image"])


def test_every_file_that_a_service_sees_is_in_the_repository():
    assert [str(path) for service in SERVICES.values() for path in binds(service) if not path.exists()] == []


@needs("git")
def test_every_secret_is_a_file_that_git_ignores():
    used = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used == set(COMPOSE["secrets"])
    files = [secret["file"] for secret in COMPOSE["secrets"].values()]
    ignored = subprocess.run(
        ["git", "check-ignore", *files], cwd=FILE.parent, capture_output=True, text=True, check=False
    )
    assert sorted(ignored.stdout.split()) == sorted(files)
    # Passwords stand in no variable: those of images are read from files too.
    given = [name for service in SERVICES.values() for name in service.get("environment", {})]
    assert [name for name in given if re.search("PASSWORD|TOKEN|_URL", name) and "FILE" not in name] == []


def known_variables() -> dict[str, set[str]]:
    of_service = {item.metadata["name"] for item in fields(Settings)} | {"BURST_DOCUMENTS"}
    of_daemon = {setting.variable for setting in config.ALL}
    return {
        "docservice": of_service | {f"{name}_FILE" for name in of_service},
        "autoscaler": of_daemon,
    }


@pytest.mark.parametrize("name", [name for name, one in SERVICES.items() if one["image"] in OURS])
def test_every_variable_is_one_that_the_program_reads(name: str):
    known = known_variables()[OURS[SERVICES[name]["image"]]]
    assert set(SERVICES[name]["environment"]) - known == set()


def test_the_defaults_of_its_variables_are_legal_settings(tmp_path: Path):
    (tmp_path / "url").write_text("redis://:secret@redis:6379/0")
    given = {
        name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)
        for name, value in SERVICES["autoscaler"]["environment"].items()
    }
    settings = config.load({}, given | {"REDIS_URL_FILE": str(tmp_path / "url")})
    assert (settings.name, sorted(settings.scope.workers), settings.mode.value) == (
        "docservice",
        ["worker@docservice"],
        "act",
    )


def test_redis_refuses_writes_before_the_kernel_would_end_it():
    redis = SERVICES["redis"]
    _, *words = redis["command"]
    script = " ".join(f"{name} {value}" for name, value in zip(words[::2], words[1::2], strict=True))
    kept = re.search(r"--maxmemory (\d+)mb\b", script)
    assert kept is not None
    assert 2 * int(kept[1]) <= int(redis["mem_limit"].removesuffix("m"))
    assert "maxmemory-policy noeviction" in script
    assert "appendonly yes" in script


def test_each_part_logs_in_to_redis_as_a_user_of_its_own():
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    told = {
        name: Path(files[one["environment"]["REDIS_URL_FILE"].rpartition("/")[2]]).stem
        for name, one in SERVICES.items()
        if "REDIS_URL_FILE" in one.get("environment", {})
    }
    assert told == {
        "migrate": "api",
        "api": "api",
        "worker": "worker",
        "autoscaler": "autoscaler",
        "load": "api",
        "backup": "api",
    }
    users = {line.split()[1] for line in (TOP / "deploy/redis/users.acl").read_text().splitlines()}
    assert set(told.values()) <= users
    for name, service in SERVICES.items():
        if name in told:
            assert service["environment"]["REDIS_URL_FILE"].rpartition("/")[2] in service["secrets"]


@needs("openssl")
def test_the_guides_commands_write_users_that_can_log_in_with_what_their_files_hold(tmp_path: Path):
    guide = (TOP / "docs/compose.md").read_text()
    (block,) = re.findall(r"```\n(mkdir -m 700.*?)docker compose", guide, flags=re.DOTALL)
    (tmp_path / "deploy/redis").mkdir(parents=True)
    shutil.copy(TOP / "deploy/redis/users.acl", tmp_path / "deploy/redis")
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    folder = tmp_path / "deploy/secrets"
    with RedisServer(tmp_path / "redis", options=("--aclfile", str(folder / "users.acl"))) as server:
        for user in ("api", "worker", "autoscaler", "keda", "operator", "publisher"):
            url = (folder / f"{user}.url").read_text().strip()
            address = server.url.rpartition("/")[0].rpartition("/")[2]
            with redis.Redis.from_url(url.replace("redis:6379", address)) as client:
                assert client.ping()


def test_what_runs_for_long_has_a_health_check_or_says_why_not():
    unwatched = {name for name, one in SERVICES.items() if one.get("healthcheck", {}).get("disable")}
    assert unwatched == TASKS | {"worker"}
    assert {name for name, one in SERVICES.items() if "healthcheck" not in one} == set()


def test_each_service_waits_for_what_it_needs():
    waits = {
        name: {needed: how["condition"] for needed, how in one.get("depends_on", {}).items()}
        for name, one in SERVICES.items()
    }
    ready = {
        "migrate": "service_completed_successfully",
        "redis": "service_healthy",
        "postgres": "service_healthy",
    }
    assert waits == {
        "redis": {},
        "postgres": {},
        "migrate": {"postgres": "service_healthy"},
        "api": ready,
        "worker": ready,
        "autoscaler": {"redis": "service_healthy", "worker": "service_started"},
        "prometheus": {},
        "alertmanager": {},
        "grafana": {"prometheus": "service_healthy"},
        "load": {"api": "service_healthy"},
        "backup": {"postgres": "service_healthy"},
    }


def test_the_autoscaler_is_the_sidecar_of_the_worker_that_the_worker_says_it_is():
    worker, sidecar = SERVICES["worker"], SERVICES["autoscaler"]
    assert sidecar["pid"] == "service:worker"
    assert worker["command"][-2:] == ["-n", sidecar["environment"]["AUTOSCALER_WORKER"]]
    assert SERVICES["api"]["environment"]["AUTOSCALER_NAME"] == sidecar["environment"]["AUTOSCALER_NAME"]
    longest = int(worker["environment"]["DOCSERVICE_PROCESSING_SECONDS"])
    assert worker["stop_grace_period"] == f"{longest + 35}s"


def test_prometheus_scrapes_services_that_there_are_and_grafana_asks_it():
    scrape = yaml.safe_load((TOP / "deploy/prometheus/prometheus.yml").read_text())
    targets = [
        target.partition(":")[0]
        for job in scrape["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert {"api", "autoscaler"} <= set(targets)
    assert set(targets) - set(SERVICES) - {"localhost"} == set()
    assert {Path(path).name for path in scrape["rule_files"]} == {"rules.yml"}
    (alerting,) = scrape["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    source = yaml.safe_load((TOP / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert [one["url"] for one in source["datasources"]] == ["http://prometheus:9090"]


@needs("amtool")
def test_alertmanager_takes_its_configuration_and_has_one_receiver_to_fill_in():
    path = TOP / "deploy/prometheus/alertmanager.yml"
    done = subprocess.run(
        ("amtool", "check-config", path), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(path.read_text())
    assert config["receivers"] == [{"name": config["route"]["receiver"]}]
    mounted = {volume.split(":")[1] for volume in SERVICES["alertmanager"]["volumes"]}
    assert "/etc/alertmanager/alertmanager.yml" in mounted
    rules = (TOP / "deploy/prometheus/rules.yml").read_text()
    named = re.findall(r"alertname = (\w+)", path.read_text())
    assert named
    assert [name for name in named if f"alert: {name}\n" not in rules] == []


def test_grafana_finds_the_dashboard_where_its_provider_looks():
    provider = yaml.safe_load((TOP / "deploy/grafana/provisioning/dashboards/autoscaler.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    mounted = [
        volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"] if "dashboard.json" in volume
    ]
    assert mounted == [f"{folder}/autoscaler.json"]
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == mounted[0]


def test_the_readme_names_every_variable_with_its_default_and_no_other():
    variables = dict(re.findall(r"\$\{([A-Z_]+):-(.*?)\}", FILE.read_text()))
    readme = (TOP / "docs/compose.md").read_text()
    block = readme.partition("Variables, each with a default")[2].split("```")[1]
    assert {line.partition("=")[0] for line in block.strip().splitlines()} == set(variables)
