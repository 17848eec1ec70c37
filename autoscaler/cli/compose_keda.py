"""Puts the parts of the external scaler for KEDA together. It needs the extra ``keda``.

It observes the whole fleet with the daemon's own parts and never acts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter

from autoscaler.broker.connections import Connections
from autoscaler.broker.keys import Keys
from autoscaler.cli.compose import App, compose
from autoscaler.core.decider import Mode
from autoscaler.core.groups import Scope
from autoscaler.keda import fleet, question, scaler, server
from autoscaler.report.web import Pages, page_failures
from autoscaler.sensors.queues import QueueSensor
from autoscaler.sensors.unacked import UnackedSensor

if TYPE_CHECKING:
    from autoscaler.settings.load import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaApp:
    """The parts of one external scaler."""

    app: App
    fleet: fleet.Fleet
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
    seen = fleet.Fleet(app.controller.look, pace, app.log)
    registry = CollectorRegistry()
    calls = Counter(
        "celery_autoscaler_keda_calls",
        "Calls by KEDA and how they ended.",
        ("method", "code"),
        registry=registry,
    )
    servicer = server.Servicer(
        _scaler(app, seen), interval_seconds=settings.interval_seconds, calls=calls, log=app.log
    )
    pages = Pages(
        live=seen.live,
        ready=seen.ready,
        status=app.controller.status,
        registry=registry,
        failed=page_failures(app.log, registry),
    )
    return KedaApp(app=app, fleet=seen, servicer=servicer, pages=pages)


def _scaler(app: App, seen: fleet.Fleet) -> scaler.Scaler:
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
        unacked=UnackedSensor(
            connections.redis, prefix=settings.layout.prefix, key=settings.keda.unacked_key
        ).read,
    )
