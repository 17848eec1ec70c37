"""What ``check`` says of a deployment that is unlike a plain one: in one line what is found, and what to do.

Nothing here reads anything: no I/O, no clock, no environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.cli.findings import Finding
from autoscaler.control.addresses import Address
from autoscaler.core import memory as memory_of
from autoscaler.core.capacity import cpu_processes, lowest, unlearnt_bounds
from autoscaler.report.deployment import contract_text, redelivery_text, stray_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from autoscaler.broker.mailboxes import MailboxSet
    from autoscaler.broker.url import RedisUrl
    from autoscaler.core.model import ContainerReading, QueueReading, WorkerReading
    from autoscaler.core.policy import Policy
    from autoscaler.sensors.workers import WorkersReading
    from autoscaler.settings.load import Settings

#: A finding names no more than so many workers or fields.
_MAX_NAMES = 5
#: Fields that today's companion always reports. Others may be unknown to it.
_ALWAYS_REPORTED = (
    "busy",
    "reserved",
    "completed",
    "uptime_seconds",
    "rate_limited",
    "discarded",
    "consuming",
    "resizers",
)
_ALWAYS_IN_LAYOUT = (
    "separator",
    "priority_steps",
    "global_keyprefix",
    "unacked_key",
    "visibility_timeout_seconds",
    "control_exchange",
    "prefetch_disabled",
    "serializer",
)
#: What to do about options of a shared URL that other programs read and the autoscaler does not.
_OPTIONS = {
    "client_name": "give --redis-client-name",
    "global_keyprefix": "give --global-keyprefix",
    "priority_steps": "give --priority-steps",
    "queue_separator": "give --queue-separator",
    "fanout_prefix": "give --fanout-prefix",
    "visibility_timeout": "it belongs into the workers' broker_transport_options",
}


def url_options(url: RedisUrl) -> Iterator[Finding]:
    """Options of the URL that have no effect here."""
    for name in url.ignored_options:
        yield Finding(
            level="warn",
            subject=f"option {name[:40]} of the URL",
            found="it has no effect on the autoscaler",
            advice=_OPTIONS.get(
                name, "nothing, if another program reads it; Celery itself refuses such URLs"
            ),
        )


def address(current: Sequence[Address], *, given: bool) -> Iterator[Finding]:
    """Where the workers listen, where that is not the usual place and was found."""
    if given or tuple(current) == (Address(),):
        return
    where = "; ".join(map(str, current))
    advice = "nothing: it is found at each start; --control-exchange and --fanout-prefix save the search"
    yield Finding(level="ok", subject="remote control", found=f"workers listen at {where}", advice=advice)


def nobody(
    settings: Settings, mailboxes: Collection[str], sets: Collection[MailboxSet], databases: Collection[int]
) -> Iterator[Finding]:
    """Where workers may be when none answers.

    ``sets`` are the sets of mailboxes that the database has, ``databases`` the others that have such sets.
    """
    prefix = settings.layout.prefix
    exchanges = {one.exchange for one in sets if one.prefix == prefix}
    for other in sorted({one.prefix for one in sets} - {prefix}):
        yield Finding(
            level="fail",
            subject="global_keyprefix",
            found=f"workers have their mailboxes under the prefix {other[:60]!r}",
            advice=f"give --global-keyprefix {other[:60]!r}" if other else "leave --global-keyprefix out",
        )
    unasked = sorted(exchanges - set(settings.control_exchanges)) if settings.control_exchanges else []
    if unasked:
        yield Finding(
            level="fail",
            subject="control_exchange",
            found=f"workers have their mailboxes at {', '.join(unasked[:_MAX_NAMES])}",
            advice=f"give --control-exchange {unasked[0]}, or leave it out",
        )
    for database in sorted(databases):
        yield Finding(
            level="fail",
            subject=f"database {database}",
            found=f"workers have their mailboxes there, and the URL names database {_database(settings)}",
            advice=f"end the URL with /{database}",
        )
    if mailboxes:
        names = _names(mailboxes)
        yield Finding(
            level="fail",
            subject="fanout_prefix",
            found=f"{names} have a mailbox, and none answers with kombu's own fanout_prefix or without one",
            advice="they were killed or hang, or have a fanout_prefix of their own: give --fanout-prefix",
        )


def _database(settings: Settings) -> str:
    return settings.read_redis_url().partition("?")[0].rpartition("/")[2] or "0"


def unlike(reading: WorkersReading, queues: Iterable[QueueReading]) -> Iterator[Finding]:
    """Workers and queues with something that keeps others, or this autoscaler, from seeing them right."""
    for name in reading.unregistered:
        yield Finding(
            level="warn",
            subject=f"mailbox of {name}",
            found="it answers and has no mailbox in Redis, so that other tools do not see it",
            advice="was _kombu.binding.*.pidbox deleted or evicted? restart it, or load the companion, which"
            " puts it back",
        )
    for name, content_type in reading.unreadable.items():
        yield Finding(
            level="fail",
            subject=f"replies of {name}",
            found=f"they are {content_type}, which is never read",
            advice="set task_serializer='json' and result_serializer='json' there",
        )
    for name in reading.beats:
        yield Finding(level="ok", subject=f"beat {name}", found="it answers, and is no worker")
    for queue in queues:
        if queue.stray_lists:
            found, _, advice = stray_text(queue).partition(": ")
            yield Finding(level="warn", subject=f"priorities of {queue.name}", found=found, advice=advice)
    for worker in reading.workers:
        yield from _of_worker(worker)


def _of_worker(worker: WorkerReading) -> Iterator[Finding]:
    for subject, text in (
        ("visibility timeout", redelivery_text(worker)),
        ("companion", contract_text(worker)),
    ):
        if text is not None:
            found, _, advice = text.partition(": ")
            yield Finding(level="warn", subject=f"{subject} of {worker.name}", found=found, advice=advice)
    if not worker.companion:
        return
    missing = _missing(worker)
    if missing:
        yield Finding(
            level="warn",
            subject=f"companion of {worker.name}",
            found=f"its report lacks {_names(missing)}, or has it in another form",
            advice="it is older than this daemon or somebody else's: upgrade it; what is missing is unknown",
        )


def _missing(worker: WorkerReading) -> list[str]:
    """What every report of today's companion has and this one has not, or in a form that cannot be read."""
    missing = ["size"] if worker.processes is None else []
    missing += [name for name in _ALWAYS_REPORTED if getattr(worker, name) is None]
    if worker.layout is None:
        return [*missing, "layout"]
    return missing + [
        f"layout.{name}" for name in _ALWAYS_IN_LAYOUT if getattr(worker.layout, name) in {None, ()}
    ]


def maxima(workers: Iterable[WorkerReading], settings: Settings) -> Iterator[Finding]:
    """Workers of one machine without limits that are too many processes together at their maxima."""
    sharing: dict[str, list[WorkerReading]] = {}
    for worker in workers:
        if worker.container is not None and worker.container.container_id and not worker.unsupported:
            sharing.setdefault(worker.container.container_id, []).append(worker)
    for members in sharing.values():
        if len(members) > 1:
            yield from _too_many(members, settings)


def _too_many(members: Sequence[WorkerReading], settings: Settings) -> Iterator[Finding]:
    ceilings = [lowest(unlearnt_bounds(settings.policy, member.container)) for member in members]
    if None in ceilings:
        return  # one cannot grow at all, which has a finding of its own
    most = sum(ceiling.processes for ceiling in ceilings if ceiling is not None)
    boxes = [member.container for member in members if member.container is not None]
    held = min(_held_by(settings.policy, boxes), default=None)
    if held is not None and most > held[0]:
        yield Finding(
            level="warn",
            subject=f"maxima of {_names(member.name for member in members)}",
            found=f"at their maxima they are {most} processes on one machine, which holds {held[0]} by its"
            f" {held[1]}",
            advice=f"lower --max so that they are {held[0]} together, or raise --processes-per-core where"
            " tasks wait (I/O) more than they compute",
        )


def _held_by(policy: Policy, boxes: Sequence[ContainerReading]) -> Iterator[tuple[int, str]]:
    """How many processes of all workers their one machine holds, by what.

    A limit that someone set is left out: those who share one share it by decision.
    """
    cores = [box.cpu_limit_cores for box in boxes if box.cpu_limit_cores and not box.cpu_limited]
    if cores:
        one = policy.processes_per_core
        each = f"{one:g} process{'es' * (one != 1)} a core"
        yield cpu_processes(max(cores), policy.processes_per_core), f"{max(cores):g} cores ({each})"
    needs = [need.largest for box in boxes if (need := memory_of.need(policy, box, None)) is not None]
    limits = [box.memory_limit_bytes for box in boxes if box.memory_limit_bytes and not box.memory_limited]
    if needs and limits:
        free = min(limits) * policy.memory_headroom - sum(box.parent_rss_bytes or 0 for box in boxes)
        fits = max(len(boxes), int(free // max(needs)))
        yield fits, f"memory ({max(needs) / 2**20:.0f} MiB a process)"


def _names(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _MAX_NAMES} more" if len(known) > _MAX_NAMES else ""
    return ", ".join(known[:_MAX_NAMES]) + more
