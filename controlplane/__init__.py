"""The composition root: settings, routing, workers, and the command that starts them all."""

from controlplane.celery import app as celery_app

__all__ = ["celery_app"]
