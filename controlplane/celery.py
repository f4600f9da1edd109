"""The Celery application. The name `app` is what `celery -A controlplane` looks for."""

import os
import sys
import warnings

from celery import Celery
from celery.signals import beat_init, task_prerun, worker_ready

from controlplane.lib.origin import Door, enter
from controlplane.lib.parts import beat_in_thread

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

# Celery warns against root because of pickled messages; ours are JSON only (CELERY_ACCEPT_CONTENT).
warnings.filterwarnings("ignore", message="You're running the worker")

path = [*sys.path]
app = Celery("gantry")
sys.path[:] = path  # Celery puts the folder somebody stands in before all others: a module there is none of ours
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def _worker_is_ready(**_: object) -> None:
    beat_in_thread("worker")


@beat_init.connect
def _beat_begins(**_: object) -> None:
    beat_in_thread("beat")


@task_prerun.connect
def _task_begins(**_: object) -> None:
    enter(door=Door.TASK, ip=None, token_id=None, token_name="")
