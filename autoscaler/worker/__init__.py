"""What a Celery worker loads: two remote commands and what they need.

This folder imports Celery, the standard library and itself, by relative imports, and runs on Python 3.9: it
can be copied into a project under any name and loaded by ``-I name.commands``.
"""
