"""The settings: every fault at once, before anything connects; flags over variables over defaults."""

from __future__ import annotations

import contextlib
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.broker.connections import RedisTuning
from autoscaler.broker.url import parse_redis_url
from autoscaler.cli.main import main
from autoscaler.core.decider import Mode
from autoscaler.core.demand.target_wait import TargetWaitPolicy
from autoscaler.core.groups import Scope
from autoscaler.core.policy import Policy
from autoscaler.demo.embedded import free_port
from autoscaler.sensors.container import ContainerSettings
from autoscaler.sensors.queues import KeyLayout
from autoscaler.settings import table as config
from autoscaler.settings.load import ConfigError, Demand, KedaSettings, Settings, load
from tests.support.cluster import command
from tests.support.settings import URL, faults_of

#: A value that is not its default, and what becomes of it.
OTHER = {
    "redis_max_connections": ("5", lambda s: s.tuning.max_connections == 5),
    "redis_socket_timeout": ("4.5", lambda s: s.tuning.socket_timeout_seconds == 4.5),
    "redis_connect_timeout": ("1", lambda s: s.tuning.connect_timeout_seconds == 1),
    "redis_health_check_interval": ("0", lambda s: s.tuning.health_check_interval_seconds == 0),
    "redis_client_name": ("me", lambda s: s.tuning.client_name == "me"),
    "global_keyprefix": ("p:", lambda s: s.layout.prefix == "p:"),
    "queue_separator": (r"\x06|", lambda s: s.layout.separator == "\x06|"),
    "priority_steps": ("0 5,3", lambda s: s.layout.priority_steps == (0, 3, 5)),
    "name": ("fleet", lambda s: s.name == "fleet"),
    "inspect_timeout": ("3", lambda s: s.inspect_timeout_seconds == 3),
    "max": ("7", lambda s: s.policy.max_processes == 7),
    "min": ("2", lambda s: s.policy.min_processes == 2),
    "memory_high": ("0.99", lambda s: s.policy.memory_high == 0.99),
    "interval": ("0.5", lambda s: s.interval_seconds == 0.5),
    "min_interval": ("0.25", lambda s: s.min_interval_seconds == 0.25),
    "listen": ("[::1]:80", lambda s: s.listen == ("::1", 80)),
    "metrics_detail": ("Group", lambda s: s.metrics_detail == "group"),
    "log_format": ("JSON", lambda s: s.log_format == "json"),
    "log_level": ("debug", lambda s: s.log_level == "debug"),
    "dry_run": ("yes", lambda s: s.mode is Mode.DRY_RUN),
    "enabled": ("off", lambda s: s.mode is Mode.DISABLED),
}


@pytest.mark.parametrize(
    ("flags", "latency", "shadow"),
    [
        pytest.param({}, 5.0, None, id="the latency demand, unless something else is asked for"),
        pytest.param({"target_wait": ("30s",)}, 30.0, None, id="a target of one's own"),
        pytest.param({"target_wait": ("mails=30s",)}, 5.0, None, id="a queue's target leaves the others"),
        pytest.param({"target_wait": ("off",)}, None, None, id="off"),
        pytest.param({"scale_up_threshold": "2"}, None, None, id="who names a threshold wants thresholds"),
        pytest.param({"max_step_up": "2"}, None, None, id="or a step"),
        pytest.param({"scale_up_threshold": "2", "target_wait": ("9s",)}, 9.0, None, id="unless both"),
        pytest.param({"min": "2", "memory_high": "0.99"}, 5.0, None, id="bounds are everybody's"),
        pytest.param({"scale_down_cooldown": "9"}, 5.0, None, id="so is the cooldown of a start"),
        pytest.param({"shadow": "latency"}, None, 5.0, id="in the shadow"),
        pytest.param({"shadow": "latency", "target_wait": ("9s",)}, None, 9.0, id="in the shadow, 9 s"),
    ],
)
def test_the_target_wait_decides_unless_the_thresholds_are_chosen(flags, latency, shadow):
    found = load(flags, URL)
    waits = [parameters and parameters.target_wait_seconds for parameters in (found.deciding, found.shadow)]
    assert waits == [latency, shadow]


@pytest.mark.parametrize(
    "flags", [{"target_wait": ("off", "mails=3s")}, {"target_wait": ("off",), "shadow": "latency"}]
)
def test_a_target_that_is_off_and_wanted_is_refused(flags):
    assert faults_of(flags) == ["--target-wait is off and a target is given too; remove one of them"]


def test_the_defaults_are_the_policys_own_and_each_part_its_own():
    found = load({}, URL)
    assert found.read_redis_url() == "redis://h"
    assert replace(found, read_redis_url=str) == Settings(
        read_redis_url=str,
        policy=Policy(),
        scope=Scope(),
        mode=Mode.ACT,
        name="default",
        interval_seconds=2.0,
        min_interval_seconds=0.5,
        inspect_timeout_seconds=1.5,
        listen=("0.0.0.0", 9809),
        base_path="",
        metrics_detail="worker",
        log_format="auto",
        log_level="info",
        layout=KeyLayout(),
        tuning=RedisTuning(),
        control_exchanges=(),
        fanout_prefix=None,
        container=None,
        quiesces=False,
        quiesce_deadline_seconds=60.0,
        demand=Demand.TARGET_WAIT,
        target_wait=TargetWaitPolicy(),
        target_waits={},
        keda=KedaSettings(
            listen=("0.0.0.0", 9810), processes_per_worker=None, scale_in="idle", unacked_key="unacked"
        ),
        sources={"redis_url": "REDIS_URL"},
    )


@pytest.mark.parametrize("key", OTHER)
def test_a_variable_sets_it_and_a_flag_wins_over_the_variable(key):
    setting = next(one for one in config.ALL if one.key == key)
    text, is_set = OTHER[key]
    assert not is_set(load({}, URL))
    assert is_set(load({}, {**URL, setting.variable: text}))
    assert is_set(load({key: text}, URL))
    assert is_set(load({key: text}, {**URL, setting.variable: "!!"}))
    assert is_set(load({key: text}, {**URL, setting.variable: setting.default}))


def test_an_empty_variable_is_as_good_as_none():
    empty = {setting.variable: "" for setting in config.ALL if setting.variable != "REDIS_URL"}
    found, plain = load({}, {**URL, **empty}), load({}, URL)
    assert replace(found, read_redis_url=str) == replace(plain, read_redis_url=str)


def test_workers_and_queues_are_words_of_a_variable_or_flags_again_and_again():
    by_variable = load({}, {**URL, "AUTOSCALER_WORKER": "a@h  b@h", "AUTOSCALER_QUEUE": "x y"})
    by_flag = load({"worker": ("a@h", "b@h"), "queue": ("x", "y")}, {**URL, "AUTOSCALER_QUEUE": "z"})
    expected = Scope(workers=frozenset({"a@h", "b@h"}), queues=frozenset({"x", "y"}))
    assert (by_variable.scope, by_flag.scope) == (expected, expected)
    assert load({"queue": ("with space",)}, URL).scope.queues == {"with space"}


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({}, "default"),
        ({"worker": ("a@h",)}, "a@h"),
        ({"worker": ("a@h", "b@h")}, "default"),
        ({"name": "n"}, "n"),
    ],
)
def test_it_is_called_after_its_one_worker_or_as_told(flags, name):
    assert load(flags, URL).name == name


def test_a_policy_alone_needs_no_redis():
    found = load({"min": "2"}, {"AUTOSCALER_MAX": "auto"}, config.PARAMETERS)
    assert found.policy == Policy(min_processes=2)
    with pytest.raises(ConfigError, match="--min is '0'"):
        load({"min": "0"}, {}, config.PARAMETERS)


def test_a_command_has_no_more_settings_than_it_states():
    other = {"AUTOSCALER_MAX": "none at all", "AUTOSCALER_LISTEN": "redis://:s3cret@h"}
    assert load({}, {**URL, **other}, config.REDIS).policy == Policy()


def test_a_workers_name_with_a_variable_that_kubernetes_left_is_refused():
    name = "celery@mails-$(POD_NAME)"
    shown = (
        f"is {name!r}; its $(...) was not replaced; Kubernetes replaces only variables that are defined "
        "before it: put that variable in front of it in env, or give the worker's name as it is, as in "
        "celery@HOST"
    )
    assert faults_of({"worker": (name,)}) == [f"--worker {shown}"]
    assert faults_of({}, {**URL, "AUTOSCALER_WORKER": name}) == [f"AUTOSCALER_WORKER {shown}"]
    done = CliRunner().invoke(main, ["run"], env={**URL, "AUTOSCALER_WORKER": name})
    assert (done.exit_code, done.stderr) == (2, f"autoscaler: AUTOSCALER_WORKER {shown}\n")
    assert load({"worker": ("mails$@h",)}, URL).scope.workers == {"mails$@h"}


def test_all_faults_are_reported_together():
    environment = {"AUTOSCALER_MAX": "0", "AUTOSCALER_WORKER": "a\x07", "REDIS_URL": "http://:pw@h"}
    flags = {"interval": "x", "memory_limit": "1Gi", "worker_pid": "1"}
    found = faults_of(flags, environment)
    assert [line.split(" ")[0] for line in found] == [
        "AUTOSCALER_WORKER",
        "AUTOSCALER_MAX",
        "--interval",
        "Redis",
        "--memory-limit,",
    ]


def test_contradictions_between_settings_are_reported_by_the_names_of_the_flags():
    assert faults_of({"min": "5", "max": "3", "memory_high": "0.5"}) == [
        "--max is 3, below --min, which is 5; raise the one or lower the other",
        (
            "--memory-high is 0.5, below --memory-headroom, which is 0.85;"
            " the pool would grow into what it must shrink from: raise --memory-high"
        ),
    ]


@pytest.mark.parametrize("workers", [(), ("a@h", "b@h")])
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"memory_limit": "1Gi"}, "--memory-limit"),
        ({"cpu_limit": "1", "worker_pid": "auto"}, "--cpu-limit, --worker-pid"),
        ({"limits_folder": "/limits"}, "--limits-folder"),
    ],
)
def test_a_stated_container_is_one_workers(workers, flags, named):
    assert faults_of({**flags, "worker": workers}) == [
        f"{named} describes the container of one worker; name it with exactly one --worker"
    ]


def test_the_container_of_the_one_worker_is_taken_over():
    flags = {"worker": ("a@h",), "cpu_limit": "1.5", "memory_limit": "512Mi", "worker_pid": "AUTO"}
    assert load({**flags, "limits_folder": "/limits"}, URL).container == ContainerSettings(
        cpu_limit_cores=1.5, memory_limit_bytes=2**29, limits_folder=Path("/limits"), worker_pid="auto"
    )


def test_a_variable_that_looks_like_a_setting_and_is_none_is_named_with_the_nearest():
    slips = {
        "AUTOSCALER_TARGET_WAT": "3s",
        "AUTOSCALER_ZZZZZ": "1",
        "AUTOSCALER_REDIS_URL": "redis://h",
        "DOCSERVICE_X": "1",
        "CELERY_AUTOSCALE": "9,1",
    }
    assert load({}, {**URL, **slips}).unknown_variables == {
        "AUTOSCALER_TARGET_WAT": "AUTOSCALER_TARGET_WAIT",
        "AUTOSCALER_REDIS_URL": "REDIS_URL",
        "AUTOSCALER_ZZZZZ": None,
    }


@pytest.mark.parametrize(
    "name",
    [f"CELERY_AUTOSCAL{rest}" for rest in ("ER_ENABLED", "E_ENABLE", "ING_ENABLED")] + ["AUTOSCALER_ENABLED"],
)
def test_a_mistyped_switch_that_was_to_keep_it_from_acting_is_named(name):
    assert load({}, {**URL, name: "false"}).unknown_variables == {name: "CELERY_AUTOSCALE_ENABLED"}


def test_what_kubernetes_adds_for_a_service_of_that_name_is_no_mistake():
    links = (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_9809_TCP",
        "PORT_9809_TCP_ADDR",
    )
    names = [f"AUTOSCALER_{link}" for link in links] + ["AUTOSCALER_KEDA_SERVICE_HOST"]
    names += [f"CELERY_{name}" for name in names]
    assert load({}, {**URL, **dict.fromkeys(names, "10.0.0.1")}).unknown_variables == {}


@pytest.mark.parametrize(
    ("flags", "environment", "ignored"),
    [
        ({"target_wait": ("5s",), "max_step_up": "3"}, {}, ("--max-step-up",)),
        ({"target_wait": ("5s",)}, {"AUTOSCALER_SCALE_UP_DELAY": "3"}, ("AUTOSCALER_SCALE_UP_DELAY",)),
        ({"target_wait": ("off",), "start_worth": "9"}, {}, ("--start-worth",)),
        ({"max_step_up": "3"}, {}, ()),
        ({"shadow": "target-wait", "max_step_up": "3", "start_worth": "9"}, {}, ()),
    ],
)
def test_a_setting_that_has_no_effect_is_named(flags, environment, ignored):
    assert load(flags, {**URL, **environment}).ignored == ignored


def test_a_login_in_the_wrong_place_is_never_repeated():
    url = "redis://me:s3cret@h"
    settings = [setting for setting in (*config.ALL, *config.KEDA) if setting not in config.REDIS[:2]]
    leaks = {}
    for setting in settings:
        with contextlib.suppress(ConfigError):
            load({}, {**URL, setting.variable: url}, (*config.ALL, *config.KEDA))
            continue
        faults = "\n".join(faults_of({}, {**URL, setting.variable: url}, (*config.ALL, *config.KEDA)))
        if "s3cret" in faults:
            leaks[setting.variable] = faults
    assert leaks == {}


def test_a_url_is_needed():
    assert faults_of({}, {}) == [
        "REDIS_URL is not set; give redis://HOST:6379/0 by --redis-url, REDIS_URL or REDIS_URL_FILE"
    ]


def test_a_url_and_a_file_of_it_exclude_each_other(tmp_path):
    file = tmp_path / "url"
    file.write_text("redis://h")
    both = ["REDIS_URL and REDIS_URL_FILE are both set; keep one"]
    assert faults_of({}, {**URL, "REDIS_URL_FILE": str(file)}) == both
    assert faults_of({"redis_url_file": str(file)}, URL) == both


def test_a_file_is_read_again_each_time(tmp_path):
    file = tmp_path / "url"
    file.write_text(" redis://:one@h\n")
    found = load({}, {"REDIS_URL_FILE": str(file)})
    assert parse_redis_url(found.read_redis_url()).password == "one"
    file.write_text("redis://:two@h")
    assert parse_redis_url(found.read_redis_url()).password == "two"


def test_a_file_that_cannot_be_used_says_why_and_shows_nothing_of_it(tmp_path):
    file = tmp_path / "url"
    missing = f"[Errno 2] No such file or directory: '{file}'; give a file that holds the URL"
    assert faults_of({}, {"REDIS_URL_FILE": str(file)}) == [f"REDIS_URL_FILE: {missing}"]
    assert faults_of({"redis_url_file": str(file)}, {}) == [f"--redis-url-file: {missing}"]
    file.write_bytes(b"\xff\xfe:s3cret-word@h")
    (fault,) = faults_of({}, {"REDIS_URL_FILE": str(file)})
    assert fault.startswith("Redis URL: no scheme found")
    assert "s3cret" not in fault


def test_a_url_in_the_place_of_the_file_is_not_shown():
    assert faults_of({}, {"REDIS_URL_FILE": "redis://:s3cret@h"}) == [
        "REDIS_URL_FILE is a URL; it must be the path of a file that holds one"
    ]


@pytest.mark.parametrize("name", ["run", "once", "check"])
def test_bad_settings_end_every_command_with_2_and_all_of_them_before_anything_connects(name):
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(0)
        url = f"redis://:s3cret@127.0.0.1:{listener.getsockname()[1]}/0"
        environment = {"AUTOSCALER_CPU_HIGH": "2", "REDIS_URL": url}
        done = CliRunner().invoke(main, [name, "--min", "0", "--max", "x"], env=environment)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "autoscaler: --min is '0'; it must be a whole number from 1 to 10000 (processes)\n"
        "autoscaler: --max is 'x'; it must be a whole number from 1 to 10000 (processes), or auto\n"
        "autoscaler: AUTOSCALER_CPU_HIGH is '2';"
        " it must be a number from 0.05 to 1 (share of the CPU limit)\n"
    )


def test_a_redis_that_does_not_answer_is_no_fault_of_the_settings():
    code, out, err = command("once", REDIS_URL=f"redis://:s3cret@127.0.0.1:{free_port()}/0")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("autoscaler: Redis cannot be read: ConnectionError: ")
    assert "s3cret" not in err


@given(
    st.dictionaries(st.sampled_from([one.variable for one in config.ALL]), st.text(max_size=12), max_size=5),
    st.dictionaries(
        st.sampled_from([one.key for one in config.ALL if not one.many]), st.text(max_size=12), max_size=5
    ),
)
def test_drawn_settings_are_legal_or_reported_as_faults_of_one_line_each(environment, flags):
    faults: list[str] = []
    try:
        found = load(flags, {**URL, **environment})
    except ConfigError as fault:
        faults = fault.faults or ["a fault without a word"]
    else:
        parse_redis_url(found.read_redis_url())
    assert [line for line in faults if len(line) < 20 or "\n" in line] == []
