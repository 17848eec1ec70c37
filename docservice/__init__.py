"""The document service: grids and mail numbers on Postgres and Redis, with its Celery worker.

The map, from plain values up to the command line; a module imports only from lines above its own::

    upload -> api -> blobs, store -> broker -> tasks -> processing -> store
    grid   -> api -> cache, else store -> cache

===============  ============================================================================
mail_number      a mail number and how it is matched: exact, prefix, contains
documents        what a document is and the states it goes through
grid             one question to a grid: columns allowed, filters, sort, page, cursor
identity         who asks: roles, modules, tokens
processing       what an upload holds: mail, PDF, text; pure over bytes
samples          mails and PDFs made up for the demo and the benchmarks
config           the settings of a run, all faults told at once
connections      one ``REDIS_URL``, one ``DATABASE_URL``: checked, never printed
log, metrics     what operators and Prometheus are told
store            Postgres: migrations, SQL, the pool
cache            Redis: pages and identities by version
blobs            where the bytes of documents live
broker           the Celery application and its queue
control          the workers' remote control
tasks, sweeper   what workers do; what became of work that nobody did
api              the routes, in one envelope
app              ``create_app(settings)``
gathering        how answers are written to the network: those of one turn together
fast_path        pages on connections whose requests repeat their headers, below ASGI
health           whether the API of this container is well, asked on the standard library alone
burst            many mails at once, over HTTP, to watch the workers
cli              the commands
===============  ============================================================================

The first six know no I/O, no clock and no logger. Of :mod:`autoscaler` the service imports ``companion``,
``capacity`` and ``contract``, and nothing else.
"""
