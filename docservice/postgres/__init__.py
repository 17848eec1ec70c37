"""Postgres: connections, migrations and SQL by noun."""
