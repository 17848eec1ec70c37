"""Backup and restore: the rows by ``pg_dump`` and ``pg_restore``, the files by their rows, each checked."""
