"""Sizes the pools of Celery workers by the work that waits, and loses no task doing so.

The data walks one way, once each tick::

    sensors -> Observation -> Decider -> Plan of Decisions -> actuator
                                                           -> metrics, web, contract

The map, from plain values up to the command line; a module imports only from lines above its own:

==============  =============================================================================
model           readings, decisions and reasons: frozen values, an unknown is ``None``, never 0
policy          every knob with its default, unit and bounds, all faults told at once
capacity        how many processes a container bears: CPU, memory
demand          how many processes the work asks for
allocation      one fleet target to a target for each worker
decider         recommend, stabilize, cool down, step, clamp: pure, the clock is an argument
sensors         what can be seen: backlog (Redis), pool (remote control), cgroup (files)
actuator        resizes one worker and tells what is known of the outcome
contract        the Redis keys shared with others: status, override, events
lease           one acting autoscaler for a fleet
metrics, web    what Prometheus, probes and people are told
controller      ``tick()``: gather, decide, apply, record; the only place that catches
config          the settings of a run, read from flags, environment and files
cli             the commands; the only composer
companion       loaded by a *worker*, not by the daemon: report and safe resize
==============  =============================================================================

``import autoscaler`` costs nothing: a worker that loads :mod:`autoscaler.companion` needs no
dependency of the daemon.
"""

__version__ = "0.1.0"
