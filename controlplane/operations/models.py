"""Operations: every change, what became of it, and the trail it leaves."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class State(models.TextChoices):
    """Where an operation stands.

    queued → running → succeeded | failed | cancelled | lost
    queued → cancelled
    running → queued       its worker died and the kind can be repeated safely
    """

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    LOST = "lost", "Lost"


UNFINISHED = (State.QUEUED, State.RUNNING)
FINISHED = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST)

# A running operation renews its heartbeat this often, and is given up for dead after that long.
HEARTBEAT = timedelta(seconds=4)
HEARTBEAT_LIMIT = timedelta(seconds=20)


class Operation(models.Model):
    """One change: who asked for what on what, and how it went. Parents of a bulk action run nothing."""

    kind = models.CharField(max_length=60)
    title = models.CharField(max_length=300)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="operations")
    actor_name = models.CharField(max_length=200)
    host = models.ForeignKey("hosts.Host", null=True, blank=True, on_delete=models.SET_NULL, related_name="operations")
    host_name = models.CharField(max_length=200, blank=True)
    target_kind = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=300, blank=True)
    target_name = models.CharField(max_length=300, blank=True)
    # Operations of one lane run one after another. Empty: no lane.
    lane = models.CharField(max_length=300, blank=True)

    params = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    # {key: {"status": str, "current": int | None, "total": int | None}}, in the order of first mention.
    progress = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    hint = models.TextField(blank=True)

    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries")
    attempt = models.PositiveSmallIntegerField(default=0)
    # Counts claims; a worker whose claim was taken over finds another number here and stops writing.
    claim = models.PositiveIntegerField(default=0)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["state", "id"], name="operation_state"),
            models.Index(fields=["host", "state"], name="operation_host_state"),
            models.Index(fields=["target_kind", "target_id"], name="operation_target"),
            models.Index(fields=["parent", "state"], name="operation_parent_state"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["lane"], condition=Q(state="running") & ~Q(lane=""), name="operation_one_a_lane"
            ),
        ]

    def __str__(self) -> str:
        return f"operation {self.pk}"

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def went_wrong(self) -> bool:
        return self.state in (State.FAILED, State.LOST)

    @property
    def is_bulk(self) -> bool:
        return self.kind == "bulk"

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_requested_at is not None

    @property
    def duration(self) -> timedelta | None:
        """Time since it began to run, up to its end; None before it ran."""
        if self.started_at is None:
            return None
        return (self.finished_at or timezone.now()) - self.started_at

    @property
    def percent(self) -> int | None:
        """Share done, 0 to 100; None when there is nothing to measure.

        Every part weighs the same, whatever its size: sizes become known one after another, and a share of
        the known bytes would run backwards whenever one more is.
        """
        if self.state == State.SUCCEEDED:
            return 100
        parts = list(self.progress.values())
        if not any(part.get("total") for part in parts):
            return None
        done = sum(min(1.0, (part.get("current") or 0) / part["total"]) for part in parts if part.get("total"))
        return int(100 * done / len(parts))


class OperationOutput(models.Model):
    """One piece of an operation's output, in order. `text` may hold several lines."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="output")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)
    stream = models.CharField(max_length=10, default="info")
    text = models.TextField()

    class Meta:
        ordering = ["seq"]
        constraints = [
            models.UniqueConstraint(fields=["operation", "seq"], name="operation_output_seq"),
        ]

    def __str__(self) -> str:
        return self.text


class Outcome(models.TextChoices):
    ALLOWED = "allowed", "Allowed"
    REFUSED = "refused", "Refused"


class AuditEntry(models.Model):
    """Who asked for what, on what, and whether it was allowed. Written in the transaction of the change."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="audit_entries"
    )
    actor_name = models.CharField(max_length=200)
    ip = models.GenericIPAddressField(null=True, blank=True)
    verb = models.CharField(max_length=60)
    target_kind = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=300, blank=True)
    target_name = models.CharField(max_length=300, blank=True)
    host_name = models.CharField(max_length=200, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.ALLOWED)
    detail = models.TextField(blank=True)
    operation = models.ForeignKey(
        Operation, null=True, blank=True, on_delete=models.SET_NULL, related_name="audit_entries"
    )

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.actor_name} {self.verb} {self.target_name}"
