"""The mirror of the containers on every host."""

from __future__ import annotations

from django.db import models
from django.urls import reverse
from django.utils import timezone

from hosts.models import Host


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
    observed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["host", "engine_id"], name="container_once_a_host")]
        indexes = [
            models.Index(fields=["state"], name="container_state"),
            models.Index(fields=["name", "id"], name="container_name"),
            models.Index(fields=["image_ref"], name="container_image_ref"),
            models.Index(fields=["image_id", "host"], name="container_image_host"),
            models.Index(fields=["created_at"], name="container_created"),
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
