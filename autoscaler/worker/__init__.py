"""What a Celery worker loads: Celery and the standard library only."""
