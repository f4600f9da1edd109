"""Celery's side of the API."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from controlplane.api.models import Answer

KEEP_FOR = timedelta(hours=24)


@shared_task(name="api.prune")
def prune() -> None:
    """Forget the answers to requests of yesterday."""
    Answer.objects.filter(created_at__lt=timezone.now() - KEEP_FOR).delete()
