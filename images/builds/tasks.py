"""Celery's side of builds: what is done by the clock."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from images.builds import triggers
from images.builds.building import SCRATCH_PREFIX
from images.builds.models import Definition, Upload

KEEP_UPLOADS = timedelta(days=7)
"""After their last use: so long a build can be done again."""
KEEP_UNFINISHED = timedelta(days=1)


@shared_task(name="builds.start_due")
def start_due() -> None:
    triggers.start_due()


@shared_task(name="builds.look_at_bases")
def look_at_bases() -> None:
    triggers.look_at_bases()


@shared_task(name="builds.sweep")
def sweep() -> None:
    """Drop uploads nobody builds from, and folders of workers that died."""
    kept = set(Definition.objects.values_list("source__upload", flat=True))
    now = timezone.now()
    for upload in Upload.objects.filter(used_at__lt=now - KEEP_UNFINISHED):
        limit = KEEP_UPLOADS if upload.is_whole else KEEP_UNFINISHED
        if upload.used_at < now - limit and upload.pk not in kept:
            upload.path.unlink(missing_ok=True)
            upload.delete()
    for folder in Path(settings.SCRATCH_DIR).glob(f"{SCRATCH_PREFIX}*"):
        pid = folder.name.removeprefix(SCRATCH_PREFIX).partition("-")[0]
        mine = folder.stat().st_uid == os.geteuid()
        if mine and pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)
