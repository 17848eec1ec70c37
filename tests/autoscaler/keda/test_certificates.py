"""`autoscaler keda`: what it counts between its looks, who may ask it, and how many."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

import grpc
import pytest

from autoscaler.keda.answer import ACTIVE_SECONDS
from autoscaler.keda.server import MAX_STREAMS
from tests.support.cluster import started
from tests.support.keda_client import Keda, make_certificate, serving_keda
from tests.support.programs import needs

W1, W2 = "w1@h", "w2@h"
TWO = {"processesPerWorker": "2"}


@pytest.mark.slow
def test_a_task_is_work_from_the_moment_in_which_it_was_fetched(cluster, store):
    cluster.worker(W1, url=store.url("worker"))
    # Looks of its own come much later than the question.
    with serving_keda(cluster, store, "--interval", "8") as keda:
        started(lambda: not keda.fails(**TWO), what="the first look")
        assert not keda.is_active()
        cluster.hold(1)
        started(lambda: cluster.redis.hlen("started") == 1, what="the start of the task")
        assert (keda.is_active(), keda.processes(**TWO)) == (True, 2)
        cluster.release()
        (said,) = json.loads(page_of(keda, "/status"))["keda"]
        assert (said["scaled_object"], said["active"], said["reason"]) == ("default/worker", True, "running")
        assert 'celery_autoscaler_keda_answer_processes{scaled_object="default/worker"} 2.0' in page_of(
            keda, "/metrics"
        )
    assert store.refusals() == []


@pytest.mark.slow
def test_what_a_worker_without_remote_control_takes_is_unknown_and_never_no_work(cluster, store):
    with serving_keda(cluster, store) as keda:
        started(lambda: not keda.fails(**TWO), what="the first look")
        cluster.hold(2)
        assert keda.processes(**TWO) == 2
        settings = json.dumps({"worker_enable_remote_control": False, "worker_prefetch_multiplier": 1})
        cluster.worker(W1, url=store.url("worker"), processes=2, SETTINGS=settings)
        started(lambda: cluster.redis.hlen("started") == 2, what="the start of both tasks")
        assert cluster.redis.llen("celery") == 0
        why = (
            "messages of queue 'celery' were taken in the last 10 minutes"
            " and no worker that consumes it answers: what runs there is not known"
        )
        for call in (keda.is_active, keda.processes):
            assert keda.refusal(call, **TWO) == ("UNAVAILABLE", why)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_trickle_of_short_tasks_is_work_until_a_minute_after_the_last_one(cluster, store):
    cluster.worker(W1, url=store.url("worker"))
    # A task of 20 ms is over long before the next look: every look sees an idle worker.
    with serving_keda(cluster, store, "--interval", "5") as keda:
        reason = lambda: json.loads(page_of(keda, "/status"))["keda"][0]["reason"]  # noqa: E731
        started(lambda: not keda.fails(**TWO), what="the first look")
        assert not keda.is_active()
        for number in (1, 2, 3):
            cluster.send(1, 0.02)
            started(lambda count=number: len(cluster.ended()) == count, what="the end of a task")
            last = time.monotonic()
            started(lambda: keda.is_active() and reason() == "ended", what="work that has ended")
            # KEDA starts its cooldown at the first no.
            assert [keda.is_active() for _ in range(10)] == [True] * 10
        started(lambda: not keda.is_active(), within_seconds=ACTIVE_SECONDS + 30, what="the end of the work")
        assert time.monotonic() - last > ACTIVE_SECONDS - 5
        assert reason() == "idle"
    assert store.refusals() == []


def page_of(keda, path):
    with urllib.request.urlopen(f"{keda.page}{path}", timeout=5) as answer:
        return answer.read().decode()


@pytest.mark.slow
def test_late_tasks_of_a_killed_worker_stay_in_the_answer_beside_a_fresh_one(cluster, store):
    settings = json.dumps({"task_acks_late": True})
    first = cluster.worker(W1, url=store.url("worker"), SETTINGS=settings, PREFETCH="4")
    with serving_keda(cluster, store, "--stale-after", "2") as keda:
        cluster.hold(4)
        started(lambda: store.admin.hlen("unacked") == 4, what="four tasks in the worker's hands")
        started(lambda: keda.processes(**TWO) == 4, what="an answer that counts them")
        first.send(signal.SIGKILL)
        cluster.worker(W2, url=store.url("worker"), SETTINGS=settings)
        reason = lambda: json.loads(page_of(keda, "/status"))["keda"][0]["reason"]  # noqa: E731
        started(lambda: (keda.fails(**TWO), reason()) == (None, "stranded"), what="the stranded tasks")
        assert (keda.is_active(), keda.replicas(**TWO)) == (True, 1)


@pytest.mark.slow
@needs("openssl")
def test_it_serves_by_tls_to_those_that_have_the_token_and_a_renewed_certificate_needs_no_restart(
    cluster, store, tmp_path
):
    certificate, key, token = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "token"
    make_certificate(certificate, key)
    token.write_text("open-sesame\n")
    words = ("--keda-tls-cert", certificate, "--keda-tls-key", key, "--keda-token-file", token)
    words += ("--keda-client-ca", certificate)
    trusted = shown(certificate, key)
    with serving_keda(cluster, store, *map(str, words), credentials=trusted) as keda:
        started(lambda: not keda.fails(**TWO, tokenFromEnv="open-sesame"), what="an answer")
        assert keda.processes(**TWO, token="open-sesame") == 0
        for given in ({}, {"token": "open-says-me"}, {"tokenFromEnv": "", "token": "x"}):
            code, why = keda.refusal(keda.is_active, **given)
            assert (code, why.partition(";")[0]) == ("UNAUTHENTICATED", "the token is missing or wrong")
        assert "open-sesame" not in keda.process.log()
        make_certificate(certificate, key)
        again = Keda(tmp_path / "client", keda.address, shown(certificate, key))
        token.write_text("another")
        assert again.processes(**TWO, token="another") == 0
        again.channel.close()
        for credentials in (None, grpc.ssl_channel_credentials(certificate.read_bytes())):
            stranger = Keda(tmp_path / "client", keda.address, credentials)
            assert stranger.refusal(stranger.is_active)[0] == "UNAVAILABLE"
            stranger.channel.close()


def shown(certificate, key):
    """What a client trusts and shows: the same self-signed certificate."""
    return grpc.ssl_channel_credentials(
        certificate.read_bytes(), private_key=key.read_bytes(), certificate_chain=certificate.read_bytes()
    )


@pytest.mark.slow
def test_a_stream_too_many_is_refused_with_words_and_calls_go_on(cluster, store):
    with serving_keda(cluster, store, "--interval", "20") as keda:
        started(lambda: not keda.fails(**TWO), what="the first look")
        streams = [keda.stub.StreamIsActive(keda.ref(), timeout=60) for _ in range(MAX_STREAMS)]
        assert {next(stream).result for stream in streams} == {False}
        late = keda.stub.StreamIsActive(keda.ref(), timeout=20)
        refused = (
            "RESOURCE_EXHAUSTED",
            "500 streams are open and no more are served; use the trigger type external",
        )
        assert keda.refusal(lambda: next(late)) == refused
        assert (keda.is_active(), keda.processes(**TWO)) == (False, 0)
        for stream in streams:
            stream.cancel()
