"""The Celery application. The name `app` is what `celery -A controlplane` looks for."""

import os

from celery import Celery
from celery.signals import beat_init, worker_ready

from controlplane.lib.parts import beat_in_thread

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

app = Celery("gantry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def _worker_is_ready(**_: object) -> None:
    beat_in_thread("worker")


@beat_init.connect
def _beat_begins(**_: object) -> None:
    beat_in_thread("beat")
