"""Sizes the pools of Celery workers by the work that waits, without losing a task.

Each tick, data flows in one direction::

    sensors -> Observation -> Decider -> Plan -> control (resizes)
                                              -> report  (log, metrics, status, events)

The packages, from the bottom up; a package imports only from lines above its own:

==============  =================================================================================
core            pure decisions: readings, policy, demand, capacity, decider; no I/O, no clock
worker          what a Celery worker loads: report, safe resize; Celery and standard library only
broker          Redis: URL, connections, keys, overrides, lease
sensors         what is observed: queues (Redis), workers (remote control), container (cgroup)
control         what is done: remote control, resize, consumers, drain
report          how a tick is reported: status, metrics, probes and pages, structured log
simulation      the same decider replayed on a trace, beside the policies of others
api, companion  what the document service may import; what a worker imports
daemon          the loop: observe, decide, act, report; a fault of one part ends that part alone
settings        one table of flags and variables, one loader, all faults at once
keda            the external scaler for KEDA, on the same observations; an extra of its own
demo            real servers, workers and a daemon to watch; an extra of its own
cli             one module for each command; ``compose`` puts the parts together
==============  =================================================================================

To change:

* a cooldown: its default in :mod:`core.policy`, its effect in :mod:`core.stabilization`;
* a metric: :mod:`report.metrics`;
* a flag and its environment variable: :mod:`settings.table`;
* a command: its module in :mod:`cli`.

``import autoscaler`` imports nothing: a worker that loads :mod:`autoscaler.companion` needs no dependency of
the daemon.
"""

__version__ = "0.1.0"
