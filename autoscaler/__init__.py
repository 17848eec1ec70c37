"""Sizes the pools of Celery workers by the work that waits, and loses no task doing so.

The data walks one way, once each tick::

    sensors -> Observation -> Decider -> Plan of Decisions -> actuator
                                                           -> metrics, web, contract

The map, from plain values up to the command line; a module imports only from lines above its own:

===============  ===============================================================================
model            readings, decisions and reasons: frozen values, an unknown is ``None``, never 0
policy           every parameter with its default, unit and bounds, all faults told at once
capacity         how many processes a container bears: CPU, memory
demand, latency  how many processes the work asks for: two watermarks, or a target wait
state, groups    what is remembered; which workers share work, and how much of it there is
allocation       one fleet target to a target for each worker
decider          recommend, stabilize, cool down, step, clamp: pure, the clock is an argument
sensors          what can be seen: backlog (Redis), pool (remote control), cgroup and container
connections      Redis by one URL, with bounded timeouts; secrets taken out of any text
remote           Celery's remote control with bounded time
actuator         resizes one worker and tells what is known of the outcome
consumers        stops and resumes consuming, with notes of it in Redis
quiesce, drain   shrinks an emptied worker; takes workers out of service
contract, lease  the Redis keys shared with others; one acting autoscaler for a fleet
record, metrics  one tick as others are told of it; what Prometheus is told
web, log         probes and pages; structured events
controller       ``tick()``: gather, decide, apply, record; the only place that catches
config, check    the settings of a run, all faults at once; the preflight
cli              the commands; the only composer
keda             the fleet's size for KEDA, by the same look and policy; an extra of its own
companion        loaded by a *worker*, not by the daemon: report and safe resize (``_prefork``)
simulation       the same decision replayed on a trace, beside the policies of others
demo, embedded   real servers, workers and a daemon to watch
===============  ===============================================================================

``import autoscaler`` costs nothing: a worker that loads :mod:`autoscaler.companion` needs no
dependency of the daemon.
"""

__version__ = "0.1.0"
