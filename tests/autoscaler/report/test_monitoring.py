"""What deploy/ gives Prometheus and Grafana, read by the real Prometheus from the real daemon."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager

import grpc
import pytest
import yaml
from celery import Celery

from autoscaler.demo.embedded import Process, free_port
from autoscaler.keda.messages import METHODS, SERVICE
from autoscaler.simulation.prometheus import Prometheus, Span
from tests.support.cluster import ROOT, started
from tests.support.programs import needs

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
RULES_TEST = RULES.with_name("rules_test.yml")
CONFIG = RULES.with_name("prometheus.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
W1 = "w1@h"
#: Rules without a series here: no publisher stamps its messages, no container is limited, no API runs,
#: and a daemon with series for each worker needs none for groups.
MAY_BE_EMPTY = ("oldest", "memory", "docservice", "celery_autoscaler_group")


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
    return [filled(query) for query in found]


def filled(query):
    """A query as Grafana sends it with All chosen everywhere; a series may well have no namespace."""
    query = query.replace("$__rate_interval", "1m").replace("$namespace", ".*")
    return re.sub(r"\$(worker|queue)\b", ".*", query)


def panels(text, *, of_rows_only=False):
    """The panels of a dashboard that show something, those in collapsed rows too, with their queries."""
    found = []
    for panel in json.loads(text)["panels"]:
        is_row = panel["type"] == "row"
        found += panel["panels"] if is_row else [] if of_rows_only else [panel]
    return {panel["title"]: [filled(target["expr"]) for target in panel["targets"]] for panel in found}


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
def running_prometheus(folder, *targets, rules_file=RULES):
    """Prometheus by the configuration of deploy/, at a pace for tests, scraping ``targets`` alone."""
    config = yaml.safe_load(CONFIG.read_text())
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "autoscaler"]
    assert job["static_configs"] == [{"targets": ["autoscaler:9809"]}]
    job["static_configs"] = [{"targets": list(targets)}]
    assert config["rule_files"] == ["/etc/prometheus/rules.yml"]
    config.pop("alerting")
    config |= {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(rules_file)],
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


def test_the_dashboard_keeps_namespaces_apart_whose_queues_or_workers_have_one_name():
    by = [labels.split(", ") for labels in re.findall(r"(?:max|min) by \(([^)]+)\)", DASHBOARD.read_text())]
    names = {"queue", "queues", "worker"}
    assert [labels for labels in by if names & set(labels) and "namespace" not in labels] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs("promtool")
def test_the_rules_pass_promtool_and_every_alert_has_a_case_where_it_fires_and_one_where_not():
    for words in (("check", "rules", RULES), ("test", "rules", RULES_TEST)):
        done = subprocess.run(("promtool", *words), capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {(alert, fires) for alert in alerts for fires in (True, False)} == set(cases)


@needs("promtool")
def test_the_dashboard_counts_workers_once_that_two_daemons_show_in_different_detail(tmp_path):
    """One daemon has series for each worker, another for groups alone, and of one group more."""
    series = {
        'worker_processes{instance="w",job="a",worker="w1@h"}': 3,
        'worker_processes{instance="w",job="a",worker="w2@h"}': 5,
        'worker_processes_busy{instance="w",job="a",worker="w1@h"}': 1,
        'worker_processes_busy{instance="w",job="a",worker="w2@h"}': 4,
        **{
            f'group_{name}{{instance="{instance}",job="a",queues="{queues}"}}': value
            for (instance, queues), values in {
                ("w", "celery"): (8, 5, 2, 0.5),
                ("g", "celery"): (8, 5, 2, 0.5),
                ("g", "mails"): (2, 0, 1, 0.3),
            }.items()
            for name, value in zip(
                ("processes", "processes_busy", "tasks_reserved", "cpu_usage_ratio_max"), values, strict=True
            )
        },
    }
    shown = panels(DASHBOARD.read_text())
    (processes,), (busy,) = shown["Processes"][:1], shown["Busy of all"]
    of_groups = [
        query
        for title in ("Fetched and not running", "CPU against its limit")
        for query in shown[title]
        if "group_tasks_reserved" in query or "group_cpu_usage_ratio_max" in query
    ]
    expected = [(processes, "{}", 10), (busy, "{}", 0.5)]
    expected += [(f"{query} * 0 + 1", '{queues="mails"}', 1) for query in of_groups]
    assert len(expected) == 4
    require_answers(tmp_path / "dashboard_test.yml", series, expected)


def require_answers(path, series, expected):
    """Promtool gives these answers, each a query with labels and a value, over these constant series."""
    test = {
        "interval": "15s",
        "input_series": [
            {"series": f"celery_autoscaler_{name}", "values": f"{value}x10"} for name, value in series.items()
        ],
        "promql_expr_test": [
            {"eval_time": "1m", "expr": expr, "exp_samples": [{"labels": labels, "value": value}]}
            for expr, labels, value in expected
        ],
    }
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run(
        ("promtool", "test", "rules", path), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs("prometheus")
def test_prometheus_scrapes_the_daemon_and_answers_every_query_of_rules_and_dashboard(cluster):
    cluster.worker(W1)
    daemon = cluster.daemon("--target-wait", "5s")
    of_rules, of_dashboard = [rule["expr"] for rule in rules()], dashboard_queries(DASHBOARD.read_text())
    keda_page, _ = cluster.stack.enter_context(scaler(cluster))
    pages = daemon.get("/metrics")[1] + text_of(f"http://{keda_page}/metrics")
    known = set(re.findall(r"^# TYPE (\w+)", pages, flags=re.MULTILINE))
    assert unknown_names([*of_rules, *of_dashboard], known) == set()
    slip = DASHBOARD.read_text().replace("celery_autoscaler_queue_depth", "celery_autoscaler_queue_dept", 1)
    assert unknown_names(dashboard_queries(slip), known) == {"celery_autoscaler_queue_dept"}
    targets = (daemon.page.removeprefix("http://"), keda_page)
    with running_prometheus(cluster.folder / "prometheus", *targets) as server:
        begun = time.time()
        cluster.hold(12)
        started(lambda: server.query("worker:celery_autoscaler_worker_processes:max > 1"), what="its growth")
        cluster.release()
        cluster.send(20, 0.2)  # arrivals that Prometheus sees come
        records = {rule["record"] for rule in rules() if "record" in rule}
        optional = {name for name in records if any(word in name for word in MAY_BE_EMPTY)}
        for name in sorted(records - optional):
            started(lambda name=name: server.query(name), what=f"the series {name}")
        health = [rule["health"] for group in server.ask("rules")["groups"] for rule in group["rules"]]
        assert health == ["ok"] * len(rules())
        # Grafana asks these itself; label_values is its own word for the labels of a metric.
        for query in of_dashboard:
            server.query(re.sub(r"^label_values\((.+), \w+\)$", r"\1", query))
        started(
            lambda: empty_panels(server) == set(),
            what="something in every panel of the dashboard",
        )
        # With an offset: a step of the range has to come after the first sample.
        for name in ("celery_autoscaler_arrivals_per_second", "celery_autoscaler_service_time_seconds"):
            started(lambda name=name: server.query(f"{name} offset 3s > 0"), what=f"samples of {name}")
        trace, _ = Prometheus(server.url).trace(Span(start=begun, end=time.time(), step_seconds=1))
        assert trace.name


@pytest.mark.slow
@needs("prometheus")
def test_without_series_for_each_worker_only_the_panels_of_single_workers_are_empty(cluster):
    for name in (W1, "w2@h"):
        cluster.worker(name, processes=2)
    daemon = cluster.daemon("--target-wait", "5s", metrics_detail="group")
    with running_prometheus(cluster.folder / "prometheus", daemon.page.removeprefix("http://")) as server:
        cluster.hold(4)
        shown = panels(DASHBOARD.read_text())
        started(lambda: value_of(server, *shown["Processes"]) >= 4, what="the processes of both workers")
        started(lambda: value_of(server, *shown["Busy of all"]) > 0, what="the busy ones")
        of_keda = set(panels(DASHBOARD.read_text(), of_rows_only=True))
        started(
            lambda: empty_panels(server) - of_keda == {"$worker"},
            what="something in every panel but that of one worker",
        )
        cluster.release()


def value_of(server, query):
    return next((float(one["value"][1]) for one in server.query(query)), -1.0)


def empty_panels(server):
    """The titles of the panels in which nothing is to be seen now."""
    shown = panels(DASHBOARD.read_text())
    return {title for title, queries in shown.items() if not any(map(server.query, queries))}


def text_of(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


@contextmanager
def scaler(cluster):
    """KEDA's scaler, asked once as KEDA asks; gives the addresses of its page and its port."""
    port, page = free_port(), free_port()
    listen = ("--keda-listen", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{page}")
    with Process(
        (sys.executable, "-m", "autoscaler", "keda", *listen, "--interval", "0.5"),
        log_path=cluster.folder / "keda.log",
        environment={"REDIS_URL": cluster.server.url},
        working_folder=ROOT,
    ) as process:
        process.wait_until(lambda: "keda.started" in process.log(), within_seconds=30, what="its start")
        metadata = {"queue": "celery", "processesPerWorker": "4"}
        reference = METHODS["IsActive"].request(name="worker", namespace="mails", scalerMetadata=metadata)
        question = METHODS["GetMetrics"].request(scaledObjectRef=reference)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = METHODS["GetMetrics"]
            ask = channel.unary_unary(
                f"/{SERVICE}/GetMetrics",
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            started(lambda: is_answered(ask, question), what="its first answer")
        yield f"127.0.0.1:{page}", f"127.0.0.1:{port}"


def is_answered(ask, question):
    try:
        return bool(ask(question, timeout=10))
    except grpc.RpcError:
        return False


def prompt_rules(folder):
    """The shipped rules with every time divided by 60, so that a fault of minutes takes seconds."""
    shipped = yaml.safe_load(RULES.read_text())
    for group in shipped["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = shorter(rule["for"])
            # A rate needs two samples: no range below 5 s.
            rule["expr"] = re.sub(r"\[(\d+m)\]", lambda match: f"[{shorter(match[1], 5)}]", rule["expr"])
            rule["expr"] = re.sub(r"> (60|120|300)$", lambda m: f"> {int(m[1]) / 60:g}", rule["expr"].strip())
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump(shipped))
    return path


def shorter(text, at_least=1):
    """A duration of minutes divided by 60."""
    return f"{max(at_least, int(text.removesuffix('m')))}s"


def firing(server):
    """The alerts that fire, each with the labels that a person reads first."""
    shown = ("cause", "reason")
    return {
        (alert["labels"]["alertname"], *(alert["labels"][name] for name in shown if name in alert["labels"]))
        for alert in server.ask("alerts")["alerts"]
        if alert["state"] == "firing"
    }


def send_many(cluster):
    cluster.send(600, 30.0)


def kill(cluster):
    send_many(cluster)
    started(lambda: cluster.redis.hlen("started"), what="a task that runs")
    cluster.workers[W1].send(signal.SIGKILL)


def stop(cluster):
    send_many(cluster)
    started(lambda: cluster.redis.hlen("started"), what="a task that runs")
    cluster.workers[W1].send(signal.SIGSTOP)


def cancel(cluster):
    app = Celery("admin", broker=cluster.server.url, set_as_current=False)
    app.control.cancel_consumer("celery", destination=[W1], reply=True, timeout=5)
    app.close()
    send_many(cluster)


def cancel_one_of_two(cluster):
    cluster.worker("w2@h")
    cancel(cluster)


#: The fault, how the worker is started, and the alerts that have to fire, by their names and causes.
FAULTS = [
    pytest.param(
        kill, {}, {("CeleryTargetWaitMissed", "unresponsive"), ("CeleryWorkerUnresponsive",)}, id="killed"
    ),
    pytest.param(
        stop, {}, {("CeleryTargetWaitMissed", "unresponsive"), ("CeleryWorkerUnresponsive",)}, id="stopped"
    ),
    pytest.param(
        cancel,
        {},
        {("CeleryTargetWaitMissed", "not_consumed"), ("CeleryQueueNotConsumed",)},
        id="consumes nothing",
    ),
    pytest.param(cancel_one_of_two, {}, {("CeleryWorkerNotConsuming",)}, id="one of two consumes nothing"),
    pytest.param(
        send_many,
        {"options": ("--pool", "threads"), "companion": False},
        {("CeleryTargetWaitMissed", "unsupported"), ("CeleryPoolNotResizable",)},
        id="threads pool",
    ),
    pytest.param(
        send_many,
        {"processes": 6},
        {("CeleryTargetWaitMissed", "at_max"), ("CeleryAutoscalerAtMaximum", "at_max")},
        id="at its maximum",
    ),
]


@pytest.mark.slow
@needs("prometheus")
@pytest.mark.parametrize(("fault", "started_as", "expected"), FAULTS)
def test_a_real_fault_with_work_that_waits_fires_what_names_it(cluster, fault, started_as, expected):
    cluster.worker(
        W1, *started_as.get("options", ()), **{k: v for k, v in started_as.items() if k != "options"}
    )
    daemon = cluster.daemon("--target-wait", "1s")
    started(lambda: daemon.reason(W1), what="the worker")
    page = daemon.page.removeprefix("http://")
    rules_file = prompt_rules(cluster.folder)
    with running_prometheus(cluster.folder / "prometheus", page, rules_file=rules_file) as server:
        started(lambda: server.query("celery_autoscaler_build_info"), what="a scrape")
        started(lambda: firing(server) == set(), what="the end of what fired before the first scrape")
        fault(cluster)
        started(lambda: expected <= firing(server), within_seconds=120, what=f"the alerts {expected}")
