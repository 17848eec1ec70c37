"""What deploy/ gives Prometheus and Grafana, read by the real Prometheus from the real daemon."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager

import pytest
import yaml

from autoscaler.demo.embedded import Process, free_port
from autoscaler.simulation.prometheus import Prometheus, Span
from tests.support.cluster import ROOT, started
from tests.support.programs import needs

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RULES_TEST = RULES.with_name("rules_test.yml")
CONFIG = RULES.with_name("prometheus.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
W1 = "w1@h"
#: Empty without a publisher that stamps its messages, without a container that is held back, and once the
#: daemon reads everything.
MAY_BE_EMPTY = ("queue_oldest_message_age_seconds", "cgroup_", "sensor_errors_total")


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard_queries(text):
    """Every query of a dashboard, its variables as Grafana fills them in for All."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            texts = [value[key] for key in ("expr", "definition", "query") if isinstance(value.get(key), str)]
            found.extend(text for text in texts if text != "prometheus")  # the kind of a data source
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(json.loads(text))
    filled = (query.replace("$__rate_interval", "1m") for query in found)
    return [re.sub(r"\$(worker|queue)\b", ".+", query) for query in filled]


def unknown_names(queries, known):
    """The names of ours in these queries that are no metric (nor a series of one) among ``known``."""
    named = {name for query in queries for name in re.findall(r"(?<![\w:])celery_autoscaler_\w+", query)}
    series = known | {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    return named - series


class Server:
    """A running Prometheus."""

    def __init__(self, process, url):
        self.process, self.url = process, url

    def ask(self, path, **parameters):
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        ) as answer:
            return json.load(answer)["data"]

    def query(self, query):
        return self.ask("query", query=query)["result"]

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def running_prometheus(folder, target):
    """Prometheus by the configuration of deploy/, at a pace for tests, scraping ``target`` alone."""
    config = yaml.safe_load(CONFIG.read_text())
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "autoscaler"]
    assert job["static_configs"] == [{"targets": ["autoscaler:9809"]}]
    job["static_configs"] = [{"targets": [target]}]
    assert config["rule_files"] == ["/etc/prometheus/rules.yml"]
    config |= {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": [job],
    }
    folder.mkdir()
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    words = (
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    )
    with Process(("prometheus", *words), log_path=folder / "log", working_folder=folder) as process:
        server = Server(process, f"http://{address}")
        process.wait_until(server.is_ready, within_seconds=30, what="Prometheus's start")
        yield server


@pytest.mark.slow
@needs("promtool")
def test_the_rules_pass_promtool_and_every_alert_has_a_case_where_it_fires_and_one_where_not():
    for words in (("check", "rules", RULES), ("test", "rules", RULES_TEST)):
        done = subprocess.run(("promtool", *words), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {(alert, fires) for alert in alerts for fires in (True, False)} == set(cases)


@pytest.mark.slow
@needs("prometheus")
def test_prometheus_scrapes_the_daemon_and_answers_every_query_of_rules_and_dashboard(cluster):
    cluster.worker(W1)
    daemon = cluster.daemon("--target-wait", "5s", "--shadow", "latency")
    of_rules, of_dashboard = [rule["expr"] for rule in rules()], dashboard_queries(DASHBOARD.read_text())
    known = set(re.findall(r"^# TYPE (\w+)", daemon.get("/metrics")[1], flags=re.MULTILINE))
    assert unknown_names([*of_rules, *of_dashboard], known) == set()
    slip = DASHBOARD.read_text().replace("celery_autoscaler_queue_depth", "celery_autoscaler_queue_dept", 1)
    assert unknown_names(dashboard_queries(slip), known) == {"celery_autoscaler_queue_dept"}
    with running_prometheus(cluster.folder / "prometheus", daemon.page.removeprefix("http://")) as server:
        begun = time.time()
        cluster.hold(12)
        started(lambda: server.query("worker:celery_autoscaler_worker_processes:max > 1"), what="its growth")
        cluster.release()
        cluster.send(20, 0.2)  # arrivals that Prometheus sees come
        records = {rule["record"] for rule in rules() if "record" in rule}
        optional = {name for name in records if "oldest" in name or "memory" in name}
        for name in sorted(records - optional):
            started(lambda name=name: server.query(name), what=f"the series {name}")
        health = [rule["health"] for group in server.ask("rules")["groups"] for rule in group["rules"]]
        assert health == ["ok"] * len(rules())
        # Grafana asks these itself; label_values is its own word for the labels of a metric.
        asked = [re.sub(r"^label_values\((.+), \w+\)$", r"\1", query) for query in of_dashboard]
        started(
            lambda: not [query for query in asked if not server.query(query) and not optional_query(query)],
            what="an answer to every query of the dashboard",
        )
        # With an offset: a step of the range has to come after the first sample.
        for name in ("celery_autoscaler_arrivals_per_second", "celery_autoscaler_service_time_seconds"):
            started(lambda name=name: server.query(f"{name} offset 3s > 0"), what=f"samples of {name}")
        trace, _ = Prometheus(server.url).trace(Span(start=begun, end=time.time(), step_seconds=1))
        assert trace.name


def optional_query(query):
    return any(name in query for name in MAY_BE_EMPTY) or "ALERTS" in query
