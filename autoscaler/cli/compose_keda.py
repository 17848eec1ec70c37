"""Puts the parts of the external scaler for KEDA together. It needs the extra ``keda``.

It observes the whole fleet with the daemon's own parts and never acts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter

from autoscaler import __version__
from autoscaler.broker.connections import Connections
from autoscaler.broker.keys import Keys
from autoscaler.cli.compose import App, compose
from autoscaler.core.decider import Mode
from autoscaler.core.groups import Scope
from autoscaler.keda import fleet, question, scaler, server
from autoscaler.keda.answer import UnknownError
from autoscaler.keda.certificates import Certificates
from autoscaler.keda.leaving import Leaving
from autoscaler.keda.messages import METHODS
from autoscaler.keda.observed import Observed
from autoscaler.report.web import Pages, page_failures
from autoscaler.sensors.queues import QueueSensor
from autoscaler.sensors.unacked import UnackedSensor
from autoscaler.settings.load import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.settings.load import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaApp:
    """The parts of one external scaler."""

    app: App
    fleet: fleet.Fleet
    tls: Certificates | None
    servicer: server.Servicer
    pages: Pages


def compose_keda(settings: Settings) -> KedaApp:
    """Put the parts together; nothing connects yet."""
    scope = Scope(queues=settings.scope.queues)
    settings = replace(settings, mode=Mode.DRY_RUN, scope=scope, container=None)
    app = compose(settings)
    pace = fleet.Pace(
        interval_seconds=settings.interval_seconds,
        fresh_seconds=max(10.0, app.timing.fresh_seconds + settings.interval_seconds),
        patience_seconds=settings.policy.stale_after_seconds,
    )
    leaving = Leaving(app.consumers("keda"), app.log)
    seen = fleet.Fleet(app.controller.look, pace, app.log, read_leaving=leaving.read)
    registry = CollectorRegistry()
    calls = Counter(
        "celery_autoscaler_keda_calls",
        "Calls by KEDA and how they ended.",
        ("method", "code"),
        registry=registry,
    )
    # At 0 from the start: there is no increase in a series that nobody's call has begun.
    for method in METHODS:
        calls.labels(method, "OK")
    observed = Observed(__version__, seen.age_seconds, monotonic=time.monotonic)
    registry.register(observed)
    servicer = server.Servicer(
        _scaler(app, seen, observed),
        interval_seconds=settings.interval_seconds,
        calls=calls,
        log=app.log,
        read_token=token_reader(settings),
    )
    pages = Pages(
        live=seen.live,
        ready=seen.ready,
        status=lambda: {**app.controller.status(), "keda": observed.status()},
        registry=registry,
        failed=page_failures(app.log, registry),
    )
    return KedaApp(app=app, fleet=seen, tls=_tls(app), servicer=servicer, pages=pages)


def _tls(app: App) -> Certificates | None:
    keda = app.settings.keda
    if keda.tls_certificate is None or keda.tls_key is None:
        return None
    return Certificates(
        certificate=keda.tls_certificate,
        key=keda.tls_key,
        client_authority=keda.client_authority,
        log=app.log,
    )


def token_reader(settings: Settings) -> Callable[[], str | None]:
    """Reads the token that calls must have, anew each time; None where none is asked for."""
    path = settings.keda.token_file

    def read() -> str | None:
        if path is None:
            return None
        try:
            token = read_secret(path)
        except OSError as fault:
            raise UnknownError(f"--keda-token-file cannot be read: {fault}") from fault
        if not token:  # as while it is being written
            raise UnknownError("--keda-token-file is empty; write the token into it")
        return token

    return read


def _scaler(app: App, seen: fleet.Fleet, observed: Observed) -> scaler.Scaler:
    settings = app.settings
    # A connection of its own: the fleet's is dropped after a fault, whoever uses it.
    connections = Connections(settings.read_redis_url, settings.tuning, app.redactor)
    default = question.Question(
        queues=tuple(sorted(settings.scope.queues)),
        processes_per_worker=settings.keda.processes_per_worker,
        scale_in=question.ScaleIn(settings.keda.scale_in),
    )
    return scaler.Scaler(
        seen,
        QueueSensor(connections.redis, settings.layout, Keys(name=settings.name).override),
        policy=settings.policy,
        default=default,
        reset=connections.reset,
        redact=app.redactor,
        monotonic=time.monotonic,
        observed=observed,
        log=app.log,
        unacked=UnackedSensor(
            connections.redis, prefix=settings.layout.prefix, key=settings.keda.unacked_key
        ).read,
    )
