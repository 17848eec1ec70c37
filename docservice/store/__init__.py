"""Postgres: the pool (:mod:`.database`), numbered migrations, and the SQL of each noun in its own file."""
