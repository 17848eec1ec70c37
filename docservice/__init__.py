"""The document service: grids and mail numbers on Postgres and Redis, with its Celery worker.

The map, from plain values up to the command line; a module imports only from lines above its own, and of
:mod:`autoscaler` only ``autoscaler.api``::

    upload -> http -> blobs, postgres -> publish -> queue -> tasks -> extract -> postgres
    grid   -> http -> page_cache, else postgres

=================  ===========================================================================
domain             values only: documents, mail numbers, grid queries, identities, extractions
log, metrics       what is logged and counted
open_files         the limit on open files, raised at the start of the API
health             the health check of a container, on the standard library alone
batching           small queries that arrive together go in one round trip
postgres           the pool, migrations, SQL by noun
config             the settings of a run, all faults reported at once
page_cache         pages and identities in Redis, by version
ingest             blobs, publish (to the queue), tasks (in workers), extract, sweeper
workers            what administrators ask of Celery workers, over ``autoscaler.api``
http               the ASGI application: ``create_app(settings)``, routes, authentication, audit
backup             backup and restore of rows and files
dev                sample files and a load test, for the demo and the benchmarks
cli                the commands; the only composer
=================  ===========================================================================

To change: a route, ``http/routes``; what every request gets, ``http/asgi``; who may do what, ``http/auth``
and ``http/deps``; a setting, ``config``; a metric, ``metrics``; when a document is sent again,
``ingest/sweeper``.
"""
