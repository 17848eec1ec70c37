"""The document service: grids and mail numbers on Postgres and Redis, with its Celery worker.

It imports ``companion``, ``capacity`` and ``contract`` from :mod:`autoscaler` and nothing else of it.
"""
