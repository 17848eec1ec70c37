"""The commands for administrators, on a real server: what they store is what the daemon reads."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from autoscaler.broker.keys import Keys
from autoscaler.broker.overrides import OverrideRequest, read_override, write_override
from autoscaler.cli.main import main
from autoscaler.core.model import Override
from tests.support.guarded import guarded

DAY = 86_400


def stored(cluster, name="default"):
    return read_override(cluster.redis, name)


def report(cluster, name="default", workers=("a@h", "b@h"), unresponsive=()):
    """Store a status, as a running daemon of this name does."""
    status = {"workers": [{"worker": worker} for worker in workers], "unresponsive": list(unresponsive)}
    cluster.redis.set(Keys(name=name).status, json.dumps(status))


def test_a_pause_is_stored_with_its_end_who_and_why(cluster, autoscaler):
    report(cluster)
    before = time.time()
    done = autoscaler("pause", "--for", "30m", "--by", "ann", "--why", "migration")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1] == "by ann: migration"
    request = stored(cluster)
    assert request.at(time.time()) == Override(paused=True, by="ann", why="migration")
    assert 1800 <= request.expires_at - before <= 1830
    assert 0 < cluster.redis.pttl("autoscaler:default:override") <= 1_830_000
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["pause"], ["limits", "--max", "3"], ["hold", "a@h"]])
def test_a_name_that_no_daemon_reports_is_refused_unless_forced(cluster, autoscaler, words):
    report(cluster)
    done = autoscaler(*words, "--name", "nope")
    assert (done.exit_code, done.stdout, done.stderr) == (
        1,
        "",
        (
            "autoscaler: no daemon named nope has reported lately; is --name right? Nothing was changed"
            " (--force does it nevertheless)\n"
        ),
    )
    assert cluster.redis.exists("autoscaler:nope:override") == 0
    done = autoscaler(*words, "--name", "nope", "--force")
    assert (done.exit_code, done.stderr) == (
        0,
        "autoscaler: no daemon named nope has reported lately; is --name right?\n",
    )
    assert cluster.redis.exists("autoscaler:nope:override") == 1


def test_a_hold_of_a_worker_that_does_not_exist_is_refused_with_those_that_do(cluster, autoscaler):
    report(cluster, workers=["mails@vm", "reports@vm"], unresponsive=["lost@vm"])
    done = autoscaler("hold", "mails@vm", "reports")
    assert (done.exit_code, done.stdout, done.stderr) == (
        1,
        "",
        (
            "autoscaler: no worker reports; did you mean reports@vm? workers that exist: lost@vm, mails@vm,"
            " reports@vm; nothing was changed (--force does it nevertheless)\n"
        ),
    )
    assert cluster.redis.exists("autoscaler:default:override") == 0
    assert autoscaler("hold", "mails@vm", "lost@vm").exit_code == 0
    assert autoscaler("hold", "reports", "--force").exit_code == 0
    assert stored(cluster).at(time.time()).held_workers == {"mails@vm", "lost@vm", "reports"}


def test_resume_says_of_which_worker_nothing_was_held(cluster, autoscaler):
    report(cluster)
    autoscaler("hold", "a@h")
    done = autoscaler("resume", "a@h", "nobody@vm")
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "no override in force\n",
        "autoscaler: nobody@vm was not held; nothing to end\n",
    )


def test_bounds_that_contradict_each_other_are_not_legal_options(cluster, autoscaler):
    report(cluster)
    done = autoscaler("limits", "--min", "9", "--max", "3", REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.exit_code, done.stderr) == (2, "autoscaler: --min is 9, above --max, 3\n")


def test_limits_leave_a_pause_as_long_as_it_was_and_the_pause_leaves_them(cluster, autoscaler):
    report(cluster)
    autoscaler("pause", "--for", "7d", "--by", "ann", "--why", "migration")
    end = stored(cluster).expires_at
    autoscaler("limits", "--max", "3", "--for", "1h", "--by", "bob")
    request = stored(cluster)
    assert (request.expires_at, request.by, request.why) == (end, "ann", "migration")
    hour_later = request.at(time.time() + 3700)
    assert (hour_later.paused, hour_later.max_processes) == (True, None)
    autoscaler("limits", "--max", "none", "--min", "2")
    autoscaler("resume")
    assert autoscaler("pause", "--for", "1m").exit_code == 0
    after = stored(cluster).at(time.time() + 10 * DAY)
    assert (after.paused, after.min_processes, after.max_processes) == (False, 2, None)
    assert cluster.redis.pttl("autoscaler:default:override") == -1, "the limits have no end"


PAUSE = ["pause", "--by", "ann", "--why", "migration"]
LIMITS = ["limits", "--max", "3", "--by", "bob", "--why", "a slow disk"]
HOLD = ["hold", "a@h", "--by", "cy", "--why", "a look"]


@pytest.mark.parametrize(
    ("commands", "named"),
    [
        pytest.param([LIMITS, PAUSE], ("ann", "migration"), id="a pause"),
        pytest.param([LIMITS, PAUSE, ["resume"]], (None, None), id="limits, after a pause"),
        pytest.param([PAUSE, HOLD, ["resume"]], (None, None), id="a hold, after a pause"),
        pytest.param([LIMITS, ["resume"]], ("bob", "a slow disk"), id="limits, after a resume of nothing"),
        pytest.param([LIMITS, HOLD], ("bob", "a slow disk"), id="limits beside a hold"),
        pytest.param([LIMITS, HOLD, ["limits", "--max", "none"]], (None, None), id="a hold, after limits"),
        pytest.param([HOLD, ["limits", "--max", "none"]], ("cy", "a look"), id="a hold without limits"),
        pytest.param([LIMITS, ["limits", "--max", "none"]], (None, None), id="nothing"),
    ],
)
def test_who_and_why_leave_with_what_they_were_for(cluster, autoscaler, commands, named):
    report(cluster)
    for words in commands:
        assert autoscaler(*words).exit_code == 0
    request = stored(cluster)
    assert (request.by, request.why) == named
    shown = request.at(time.time())
    assert (shown.by, shown.why) == named


def test_who_and_why_are_printed_beside_what_they_are_for(cluster, autoscaler):
    report(cluster)
    autoscaler(*HOLD)
    autoscaler(*LIMITS)
    lines = autoscaler("pause").stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["paused", "by", "limits:", "a@h"]
    lines = autoscaler("resume").stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["limits:", "a@h"]


def test_a_hold_is_of_one_worker_and_ends_by_itself_or_by_resume(cluster, autoscaler):
    report(cluster)
    autoscaler("limits", "--max", "3")
    autoscaler("hold", "a@h", "b@h", "--for", "10m")
    assert stored(cluster).at(time.time()).held_workers == {"a@h", "b@h"}
    autoscaler("resume", "a@h")
    now = stored(cluster).at(time.time())
    assert (now.held_workers, now.max_processes) == ({"b@h"}, 3)
    assert stored(cluster).at(time.time() + 700).held_workers == frozenset()


def test_what_has_expired_does_not_come_back_with_a_change(cluster, autoscaler):
    report(cluster)
    past = OverrideRequest(paused=True, expires_at=time.time() + 0.2, hold_until={"a@h": time.time() + DAY})
    write_override(cluster.redis, "default", past, now=time.time())
    while stored(cluster).at(time.time()).paused:
        time.sleep(0.05)
    autoscaler("limits", "--max", "3", "--for", "1h")
    assert not stored(cluster).paused


def test_the_validation_is_that_of_every_reader(cluster, autoscaler):
    report(cluster)
    autoscaler("limits", "--max", "3")
    done = autoscaler("limits", "--min", "5")
    assert (done.exit_code, done.stderr) == (
        1,
        "autoscaler: override: min is 5, above max, 3; nothing was changed\n",
    )
    assert stored(cluster).min_processes is None
    assert autoscaler("limits", "--max", "0").exit_code == 2
    assert autoscaler("limits").exit_code == 2
    cluster.redis.set("autoscaler:default:override", '{"pause": true}')
    done = autoscaler("pause")
    assert (done.exit_code, "'pause' is no field; legal are by," in done.stderr) == (1, True)
    mend = "; nothing was changed; correct or delete the Redis key autoscaler:default:override\n"
    assert done.stderr.endswith(mend)
    assert autoscaler("status").stdout.splitlines()[1].startswith("override: 'pause' is no field; legal are")
    assert cluster.redis.get("autoscaler:default:override") == b'{"pause": true}'


def test_each_autoscaler_has_its_own_and_a_sidecar_is_called_as_its_worker(cluster, autoscaler):
    report(cluster, "shop")
    report(cluster, "w@h")
    autoscaler("pause", "--name", "shop")
    autoscaler("pause", AUTOSCALER_WORKER="w@h")
    assert [stored(cluster, name).paused for name in ("shop", "w@h", "default")] == [True, True, False]


def test_a_redis_that_does_not_answer_is_one_line():
    done = CliRunner().invoke(main, ["pause"], env={"REDIS_URL": "redis://:s3cret@127.0.0.1:1/0"})
    assert (done.exit_code, done.stderr.count("\n"), "s3cret" in done.stderr) == (1, 1, False)


def test_an_operator_has_the_rights_that_the_commands_need_and_no_others(tmp_path):
    with guarded(tmp_path / "guarded") as store:

        def run(user, *words):
            return CliRunner().invoke(main, words, env={"REDIS_URL": store.url(user)})

        for words in (
            ["pause", "--force"],
            ["hold", "w@h", "--force"],
            ["limits", "--max", "3", "--force"],
            ["events"],
            ["resume"],
        ):
            assert (run("operator", *words).exit_code, store.refusals()) == (0, [])
        assert run("operator", "status").exit_code == 1, "nobody reports"
        assert store.refusals() == []
        assert read_override(store.admin, "default").max_processes == 3
        assert [store.refuses("operator", *words) for words in (["GET", "celery"], ["FLUSHALL"])] == [
            True
        ] * 2
        refused = run("autoscaler", "pause", "--force")
        assert (refused.exit_code, "the daemon's own user only reads" in refused.stderr) == (1, True)
