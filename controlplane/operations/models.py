"""Operations: every change, what became of it, and the trail it leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from controlplane.access.models import ImageName, Token, User
from controlplane.access.reach import Reach


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
    # The token by which they asked, if any: what is asked again later is asked of both.
    token = models.ForeignKey(Token, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    host = models.ForeignKey("hosts.Host", null=True, blank=True, on_delete=models.SET_NULL, related_name="operations")
    host_name = models.CharField(max_length=200, blank=True)
    target_kind = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=300, blank=True)
    target_name = models.CharField(max_length=300, blank=True)
    # The image it is about, or that of the container it is about; null: none, or one without a name.
    image_name = models.ForeignKey(ImageName, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
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

    reach = Reach(environment="host__environment", name="image_name", owner="actor", token="token")

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
    def asker(self) -> User | None:
        """Whoever asked for it, as they are now; by a token, no more than that leaves them now. None: one of the two
        has been removed. Read anew each time: a right may end while the work runs.
        """
        actor = User.objects.filter(pk=self.actor_id or 0).first()
        if actor is not None and self.token_id is not None:
            actor.token = Token.objects.filter(pk=self.token_id).first()
            if actor.token is None:
                return None
        return actor

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
    """What became of the asking. MISSING: what was asked for is not there, which the answer does not tell apart
    from REFUSED when it may not be seen."""

    ALLOWED = "allowed", "Allowed"
    REFUSED = "refused", "Refused"
    MISSING = "missing", "Not there"


class AppendOnly(Exception):
    """The trail is written by `audit.record` alone, and never changed."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    """Reads. Triggers in the database refuse the same to everybody else."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise AppendOnly("The audit trail is append-only: entries are written by audit.record and never changed.")

    update = delete = bulk_create = bulk_update = update_or_create = get_or_create = _refuse
    aupdate = adelete = abulk_create = abulk_update = aupdate_or_create = aget_or_create = _refuse


class AuditEntry(models.Model):
    """Who asked for what, on what, by which door, and whether it was allowed; a link of the chain.

    `seq` has no gaps; `hash` is over all else, `prev` included, which is the hash of the entry before (`chain`).
    Names are kept beside ids, which lead nowhere once their row is gone: no foreign key may touch an old entry.
    """

    seq = models.BigIntegerField(unique=True)
    # Of the canonical form that was hashed: entries outlive changes of it.
    version = models.PositiveSmallIntegerField(default=1)
    prev = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    at = models.DateTimeField(default=timezone.now, db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="audit_entries",
    )
    actor_name = models.CharField(max_length=200)
    token_id = models.BigIntegerField(null=True, blank=True)
    token_name = models.CharField(max_length=200, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    door = models.CharField(max_length=10, blank=True)
    verb = models.CharField(max_length=60)
    target_kind = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=300, blank=True)
    target_name = models.CharField(max_length=300, blank=True)
    host_name = models.CharField(max_length=200, blank=True)
    environment = models.CharField(max_length=60, blank=True)
    # By which those see it who read the trail of one environment: of entries since version 2, where there is one.
    environment_row = models.ForeignKey(
        "hosts.Environment",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    outcome = models.CharField(max_length=10, choices=Outcome.choices, default=Outcome.ALLOWED)
    # Of an entry that tells an end: how it ended, after how long, and the `seq` of the entry it is the end of.
    result = models.CharField(max_length=20, blank=True)
    seconds = models.BigIntegerField(null=True, blank=True)
    refers_to = models.BigIntegerField(null=True, blank=True, db_index=True)
    detail = models.TextField(blank=True)
    operation = models.ForeignKey(
        Operation,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="audit_entries",
    )

    objects = AuditQuerySet.as_manager()
    reach = Reach(environment="environment_row")

    class Meta:
        ordering = ["-seq"]
        verbose_name_plural = "audit entries"
        # The page's filters, each in the order of the trail.
        indexes = [
            models.Index(fields=["actor", "seq"], name="audit_actor"),
            models.Index(fields=["verb", "seq"], name="audit_verb"),
            models.Index(fields=["target_id", "seq"], name="audit_target"),
            models.Index(fields=["host_name", "seq"], name="audit_host"),
            models.Index(fields=["environment", "seq"], name="audit_environment"),
            models.Index(fields=["environment_row", "seq"], name="audit_environment_row"),
            models.Index(fields=["outcome", "seq"], name="audit_outcome"),
            models.Index(fields=["door", "seq"], name="audit_door"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.verb} {self.target_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise AppendOnly("The audit trail is append-only: entries are written by audit.record and never changed.")

    def get_absolute_url(self) -> str:
        return reverse("operations:audit-entry", args=[self.seq])

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        raise AppendOnly("The audit trail is append-only: an entry is never removed.")


class AuditHead(models.Model):
    """The one row that says where the chain ends. Who appends locks it; the triggers let it go forward only."""

    seq = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"head of the audit trail, {self.seq}"


class AuditCursor(models.Model):
    """How far the trail has been sent somewhere, and which worker is sending now."""

    name = models.CharField(max_length=40, unique=True)
    seq = models.BigIntegerField(default=0)
    holder = models.CharField(max_length=40, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    trouble = models.CharField(max_length=500, blank=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.seq}"


class RefusalCount(models.Model):
    """How often somebody was refused within one minute: the first few are entries of their own, the rest a number."""

    who = models.CharField(max_length=60)  # "user:7", "stranger:webhook", "stranger:page:access.host"
    minute = models.BigIntegerField()  # since 1970
    count = models.BigIntegerField(default=0)
    actor_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=200)
    ip = models.GenericIPAddressField(null=True, blank=True)
    door = models.CharField(max_length=10, blank=True)
    last = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["who", "minute"], name="refusals_of_a_minute")]

    def __str__(self) -> str:
        return f"{self.count} refusals of {self.who}"
