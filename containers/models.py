"""The mirror of the containers on every host, and the recordings of shells in them."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from controlplane.access.models import ImageName
from controlplane.access.reach import Reach
from hosts.models import Environment, Host


class ContainerState(models.TextChoices):
    """The engine's own states (Engine API, ContainerState.Status)."""

    CREATED = "created", "Created"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    RESTARTING = "restarting", "Restarting"
    REMOVING = "removing", "Removing"
    EXITED = "exited", "Exited"
    DEAD = "dead", "Dead"


class Container(models.Model):
    """One container on one host, as last observed."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="containers")
    engine_id = models.CharField(max_length=64)
    name = models.CharField(max_length=250)
    image_ref = models.CharField(max_length=300)  # the reference it was created from
    # The repository and tag of that, as grants speak of it; null when it was created from a bare id.
    image_name = models.ForeignKey(ImageName, null=True, on_delete=models.PROTECT, related_name="+")
    image_id = models.CharField(max_length=100, blank=True)
    command = models.TextField(blank=True)
    state = models.CharField(max_length=12, choices=ContainerState.choices)
    health = models.CharField(max_length=12, blank=True)  # "", starting, healthy, unhealthy
    exit_code = models.IntegerField(null=True, blank=True)
    created_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    # [{"container": 80, "host": 8080 | None, "ip": "0.0.0.0", "protocol": "tcp"}]
    ports = models.JSONField(default=list, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    labels_text = models.TextField(blank=True)  # "key=value\n…", for search in SQL
    mounts = models.JSONField(default=list, blank=True)
    networks = models.JSONField(default=list, blank=True)
    # What the rules of environments speak of, as `keeping.settings_of`; null until it has been inspected.
    settings = models.JSONField(null=True, blank=True)
    breaks_rules = models.BooleanField(default=False)
    observed_at = models.DateTimeField(default=timezone.now)

    reach = Reach(environment="host__environment", name="image_name")

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["host", "engine_id"], name="container_once_a_host")]
        indexes = [
            models.Index(fields=["state"], name="container_state"),
            models.Index(fields=["name", "id"], name="container_name"),
            models.Index(fields=["image_ref"], name="container_image_ref"),
            models.Index(fields=["image_id", "host"], name="container_image_host"),
            models.Index(fields=["created_at"], name="container_created"),
            models.Index(fields=["host", "image_name"], name="container_host_image_name"),
            models.Index(fields=["name"], name="container_breaks_rules", condition=models.Q(breaks_rules=True)),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("containers:detail", args=[self.pk])

    @property
    def short_id(self) -> str:
        return self.engine_id[:12]

    @property
    def is_known(self) -> bool:
        """Whether `state` may be believed: a host out of contact makes its containers unknown."""
        return self.host.is_connected

    @property
    def shown_state(self) -> str:
        """The state as a page shows it: the engine's word, or "unknown"."""
        return self.state if self.is_known else "unknown"

    @property
    def is_running(self) -> bool:
        return self.is_known and self.state in (ContainerState.RUNNING, ContainerState.PAUSED)

    @property
    def lane(self) -> str:
        """Operations on one container run one after another."""
        return f"container:{self.host_id}:{self.engine_id}"


class Ending(models.TextChoices):
    """How a recording ended."""

    EXITED = "exited", "Ended"
    CLOSED = "closed", "Closed by its user"
    STOPPED = "stopped", "Container stopped"
    LOST = "lost", "Engine lost"
    RIGHT = "right", "Right ended"
    LEFT = "left", "Left"
    CUT = "cut", "Cut"
    FULL = "full", "Reached its limit"
    FAILED = "failed", "Could not be written"


class Recording(models.Model):
    """What one shell showed, as an asciicast below RECORDINGS_DIR. It outlives container, host and person.

    It lies where its container lay when it was made: `environment` and `image_name` are copies.
    """

    container = models.ForeignKey(Container, null=True, on_delete=models.SET_NULL, related_name="recordings")
    engine_id = models.CharField(max_length=64)
    container_name = models.CharField(max_length=250)
    image_ref = models.CharField(max_length=300)
    image_name = models.ForeignKey(ImageName, null=True, on_delete=models.PROTECT, related_name="+")
    image_id = models.CharField(max_length=100, blank=True)
    host = models.ForeignKey(Host, null=True, on_delete=models.SET_NULL, related_name="recordings")
    host_name = models.CharField(max_length=200)
    environment = models.ForeignKey(Environment, null=True, on_delete=models.SET_NULL, related_name="recordings")

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="recordings")
    actor_name = models.CharField(max_length=200)
    terminal = models.CharField(max_length=32)  # the agent's name of the shell
    shell = models.CharField(max_length=300)  # the command line that was started
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    is_live = models.BooleanField(default=True)
    left_at = models.DateTimeField(null=True, blank=True)  # its person went, the shell has not ended
    ending = models.CharField(max_length=8, choices=Ending.choices, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    trouble = models.CharField(max_length=300, blank=True)  # why it ended before its shell
    size = models.BigIntegerField(default=0)  # bytes of the file; 0 while it is live
    path = models.CharField(max_length=100, unique=True)  # below RECORDINGS_DIR

    reach = Reach(environment="environment", name="image_name")

    class Meta:
        ordering = ["-is_live", "-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["terminal"], condition=Q(is_live=True), name="recording_one_live"),
        ]
        indexes = [
            models.Index(fields=["is_live", "started_at", "id"], name="recording_started"),
            models.Index(fields=["host", "engine_id", "is_live", "started_at"], name="recording_container"),
            models.Index(fields=["terminal"], name="recording_terminal"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} in {self.container_name}, {self.started_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("recordings:detail", args=[self.pk])

    @property
    def state(self) -> str:
        """The word “live”, or how it ended."""
        return "live" if self.is_live else self.ending

    @property
    def duration(self) -> timedelta | None:
        """From its start to its end, or until now."""
        return (self.ended_at or timezone.now()) - self.started_at
