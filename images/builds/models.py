"""Builds, the definitions they come from, the files sent for them, and the credentials they use."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from controlplane.access.models import ImageName
from controlplane.access.reach import Reach
from controlplane.lib.seal import seal, unseal
from controlplane.operations.models import Operation
from hosts.models import Environment, Host


class CredentialKind(models.TextChoices):
    """What a credential opens."""

    REGISTRY = "registry", "Registry login"
    GIT_TOKEN = "git-token", "Git token (HTTPS)"
    GIT_KEY = "git-key", "Git deploy key (SSH)"
    SECRET = "secret", "Build secret"


class Credential(models.Model):
    """A secret that builds use by its name. What it holds is sealed, and never shown again.

    `environment`: the only one whose hosts get to see it; none: any.
    """

    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=12, choices=CredentialKind.choices)
    # Whom it is for: a registry's HOST[:PORT], a git server's host. Empty for a build secret.
    server = models.CharField(max_length=250, blank=True)
    username = models.CharField(max_length=250, blank=True)
    sealed = models.TextField()
    # Lines of an SSH known_hosts file; empty: the key that the server shows first is believed.
    known_hosts = models.TextField(blank=True)
    environment = models.ForeignKey(Environment, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)

    reach = Reach(environment="environment", any_image=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def secret(self) -> str:
        """What it holds. Raises Internal when it was sealed with another key."""
        return unseal(self.sealed)

    @secret.setter
    def secret(self, value: str) -> None:
        self.sealed = seal(value)
        self.changed_at = timezone.now()

    def may_be_used_on(self, host: Host) -> bool:
        return self.environment_id is None or self.environment_id == host.environment_id


def _new_id() -> str:
    return secrets.token_hex(16)


class Upload(models.Model):
    """One tar sent by a browser, in pieces: files, a folder or an archive. Dropped a while after its last use."""

    id = models.CharField(primary_key=True, max_length=32, default=_new_id)
    name = models.CharField(max_length=200)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    size = models.BigIntegerField(default=0)  # bytes, once it is whole
    files = models.PositiveIntegerField(default=0)
    dockerfiles = models.JSONField(default=list)  # paths that look like one, the best guess first
    finished_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return Path(settings.UPLOADS_DIR) / self.id

    @property
    def is_whole(self) -> bool:
        return self.finished_at is not None


class Concurrency(models.TextChoices):
    """What a new build of a definition does about one that has not ended."""

    QUEUE = "queue", "Wait for it"
    CANCEL = "cancel", "Cancel it"


class Definition(models.Model):
    """A build that is done again and again: from where, how, where to, and what starts it.

    `source` and `options` have the shapes of `sources.Source` and `options.Options`.
    """

    name = models.CharField(max_length=80, unique=True)
    slug = models.SlugField(max_length=80, unique=True)
    source = models.JSONField(default=dict)
    options = models.JSONField(default=dict)
    concurrency = models.CharField(max_length=8, choices=Concurrency.choices, default=Concurrency.QUEUE)
    # Whose rights its builds have, whoever or whatever starts them by a trigger.
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    # By what others find it: the host it builds on, none for a pool, and the name it gives (`naming.filed_under`).
    host = models.ForeignKey(Host, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    image_name = models.ForeignKey(ImageName, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    next_number = models.PositiveIntegerField(default=1)

    # Sealed; empty: there is no webhook.
    hook_secret = models.TextField(blank=True)
    # The last time a trigger came to nothing, so that the page can say why.
    refused_at = models.DateTimeField(null=True, blank=True)
    refused_why = models.CharField(max_length=500, blank=True)
    # Five fields of cron(5), in UTC; empty: no schedule.
    schedule = models.CharField(max_length=100, blank=True)
    next_run_at = models.DateTimeField(null=True, blank=True)
    follows_base = models.BooleanField(default=False)
    base_digests = models.JSONField(default=dict, blank=True)  # {reference: digest in its registry}
    base_looked_at = models.DateTimeField(null=True, blank=True)
    base_trouble = models.CharField(max_length=500, blank=True)  # why it could not be looked at, the last time
    created_at = models.DateTimeField(default=timezone.now)

    reach = Reach(environment="host__environment", name="image_name", owner="owner")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("builds:definition", args=[self.slug])

    def is_found_with(self, host: Host, name: int | None) -> bool:
        """Whether those who find its build on `host` by `name` (an ImageName's id) find it as well."""
        return name is None or (self.host_id == host.pk and self.image_name_id == name)


class Trigger(models.TextChoices):
    """What started a build."""

    PERSON = "person", "By hand"
    WEBHOOK = "webhook", "Webhook"
    SCHEDULE = "schedule", "Schedule"
    BASE = "base", "New base image"


HEAVY = ("dockerfile", "stages", "steps")
"""Fields of a build that lists have no use for."""


class Build(models.Model):
    """One build: the operation that runs it, what it was asked, and what it made."""

    operation = models.OneToOneField(Operation, on_delete=models.CASCADE, related_name="build")
    definition = models.ForeignKey(Definition, null=True, blank=True, on_delete=models.SET_NULL, related_name="builds")
    number = models.PositiveIntegerField(default=0)  # counts a definition's builds from 1; 0 without one
    trigger = models.CharField(max_length=10, choices=Trigger.choices, default=Trigger.PERSON)
    source = models.JSONField(default=dict)
    options = models.JSONField(default=dict)

    dockerfile = models.TextField(blank=True)  # as it was built
    dockerfile_path = models.CharField(max_length=300, blank=True)
    commit = models.CharField(max_length=64, blank=True)  # of a git source, in full
    # What `stages.Stage.as_json` gives, one for each FROM.
    stages = models.JSONField(default=list)
    # In the order run: {"key", "stage", "index", "text", "line", "state", "seconds"}; see `steps.Steps`.
    steps = models.JSONField(default=list)
    failed_line = models.PositiveIntegerField(null=True, blank=True)

    image_id = models.CharField(max_length=100, blank=True)
    tags = models.JSONField(default=list)  # familiar references, as named on the host
    size = models.BigIntegerField(null=True, blank=True)
    # From the bottom: {"created_by", "size"} of each entry of the image's history.
    layers = models.JSONField(default=list)

    reach = Reach(
        environment="operation__host__environment",
        name="operation__image_name",
        owner="operation__actor",
        token="operation__token",
    )

    class Meta:
        ordering = ["-operation_id"]
        indexes = [models.Index(fields=["definition", "number"], name="build_definition_number")]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("builds:detail", args=[self.operation_id])

    @property
    def title(self) -> str:
        if self.definition_id and self.number:
            return f"{self.definition} #{self.number}"
        return self.operation.title

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What lint had to say; kept with the operation's result."""
        found: list[dict[str, Any]] = self.operation.result.get("warnings", [])
        return found

    def before(self, among: models.QuerySet[Build]) -> Build | None:
        """The last build of the same definition, or of a same repository, that made an image."""
        earlier = among.filter(operation_id__lt=self.operation_id).exclude(image_id="").defer(*HEAVY)
        if self.definition_id:
            return earlier.filter(definition=self.definition_id).first()
        names = [tag.rpartition(":")[0] for tag in self.tags]
        candidates = earlier.filter(definition=None)[:50] if names else []
        return next((each for each in candidates if {t.rpartition(":")[0] for t in each.tags} & set(names)), None)
