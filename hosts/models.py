"""Hosts, the environments they belong to, and the tokens by which they join."""

from __future__ import annotations

import secrets
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

from controlplane.access.models import User, hash_token
from controlplane.access.reach import Reach


class Environment(models.Model):
    """A labelled group of hosts: dev, staging, production …"""

    name = models.CharField(max_length=60, unique=True)
    slug = models.SlugField(max_length=60, unique=True)
    position = models.PositiveSmallIntegerField(default=0)

    reach = Reach(environment="pk", any_image=True)

    class Meta:
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name


class HostState(models.TextChoices):
    """What we know of a host. Its rows are to be believed only while it is CONNECTED."""

    NEVER = "never", "Never connected"
    CONNECTED = "connected", "Connected"
    UNREACHABLE = "unreachable", "Unreachable"


class Host(models.Model):
    """One machine with an agent, or the place kept for it until it enrols."""

    name = models.CharField(max_length=120, unique=True)
    environment = models.ForeignKey(Environment, null=True, blank=True, on_delete=models.SET_NULL, related_name="hosts")
    labels = models.JSONField(default=dict, blank=True)
    # The raw Ed25519 public key in base64; empty until the host has enrolled.
    public_key = models.CharField(max_length=64, blank=True)

    state = models.CharField(max_length=12, choices=HostState.choices, default=HostState.NEVER)
    state_since = models.DateTimeField(default=timezone.now)
    state_reason = models.CharField(max_length=300, blank=True)
    # The agent's connection, as the gateway sees it; `state` also asks that the engine answers.
    tunnel_up = models.BooleanField(default=False)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    # When its containers and images were last listed in full.
    observed_at = models.DateTimeField(null=True, blank=True)

    agent_version = models.CharField(max_length=40, blank=True)
    engine_kind = models.CharField(max_length=20, blank=True)
    engine_version = models.CharField(max_length=60, blank=True)
    api_version = models.CharField(max_length=20, blank=True)
    os = models.CharField(max_length=120, blank=True)
    arch = models.CharField(max_length=40, blank=True)
    kernel = models.CharField(max_length=120, blank=True)
    cpus = models.PositiveIntegerField(null=True, blank=True)
    memory_total = models.BigIntegerField(null=True, blank=True)
    # {"cpu_percent", "load": [1, 5, 15 min], "memory_used", "memory_total", "disk_used", "disk_total", "at"}
    metrics = models.JSONField(default=dict, blank=True)
    # How many operations of the heavy kinds (pulls) may run on it at once.
    pull_limit = models.PositiveSmallIntegerField(default=3)
    # Set while the agent has been asked for a new key; cleared when the gateway holds it.
    rotation_requested_at = models.DateTimeField(null=True, blank=True)
    key_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    reach = Reach(environment="environment", any_image=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_connected(self) -> bool:
        return self.state == HostState.CONNECTED

    @property
    def is_enrolled(self) -> bool:
        return bool(self.public_key)

    @property
    def engine_socket(self) -> Path:
        """The host's engine, as a unix socket that speaks the Engine API."""
        return Path(settings.HOSTS_DIR) / f"{self.pk}.sock"

    @property
    def agent_socket(self) -> Path:
        """The host's agent itself: what lies under /gantry/."""
        return Path(settings.HOSTS_DIR) / f"{self.pk}.agent.sock"


class EnrolmentTokenQuerySet(models.QuerySet["EnrolmentToken"]):
    def open(self) -> EnrolmentTokenQuerySet:
        return self.filter(used_at=None, expires_at__gt=timezone.now())


class EnrolmentToken(models.Model):
    """A single-use, expiring secret by which one machine becomes `host`."""

    LIFETIME = timedelta(hours=1)

    token_hash = models.CharField(max_length=64, unique=True)
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="enrolment_tokens")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    used_from = models.GenericIPAddressField(null=True, blank=True)
    # The last attempt to use it that was refused, so that the page can show it.
    refused_at = models.DateTimeField(null=True, blank=True)
    refused_from = models.GenericIPAddressField(null=True, blank=True)

    objects = EnrolmentTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"enrolment token {self.pk} of {self.host}"

    @classmethod
    def issue(cls, host: Host, created_by: User | None = None) -> tuple[EnrolmentToken, str]:
        """A new token for `host`; open ones made before it are ended. The secret is returned once."""
        now = timezone.now()
        cls.objects.filter(host=host).open().update(expires_at=now)
        token = "gje_" + secrets.token_urlsafe(32)
        row = cls.objects.create(
            token_hash=hash_token(token), host=host, created_by=created_by, expires_at=now + cls.LIFETIME
        )
        return row, token

    @property
    def is_open(self) -> bool:
        return self.used_at is None and self.expires_at > timezone.now()
