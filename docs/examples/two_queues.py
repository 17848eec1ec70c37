# ruff: noqa: ANN001, ANN201, D100, D103, INP001 - an application as its owner writes it
import time

from celery import Celery

app = Celery("two_queues", broker="redis://localhost:6379/0", include=["autoscaler.companion"])
app.conf.task_routes = {"mail": {"queue": "mails"}, "report": {"queue": "reports"}}


@app.task(name="mail", ignore_result=True)
def mail(seconds=0.2):
    time.sleep(seconds)


@app.task(name="report", ignore_result=True)
def report(seconds=2.0):
    time.sleep(seconds)
