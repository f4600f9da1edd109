"""The mirror of the images every host holds."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from controlplane.access.models import ImageName
from controlplane.access.reach import Reach
from hosts.models import Host


class Image(models.Model):
    """One image on one host, by its id."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="images")
    engine_id = models.CharField(max_length=100)  # "sha256:…"
    size = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(null=True, blank=True)
    repo_digests = models.JSONField(default=list, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    observed_at = models.DateTimeField(default=timezone.now)

    reach = Reach(environment="host__environment", name="tags__image_name", many=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["host", "engine_id"], name="image_once_a_host")]
        indexes = [models.Index(fields=["engine_id"], name="image_engine_id")]

    def __str__(self) -> str:
        return self.short_id

    @property
    def short_id(self) -> str:
        return self.engine_id.removeprefix("sha256:")[:12]


class ImageTag(models.Model):
    """One name of an image on a host. An image without a name has one row with an empty reference."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="image_tags")
    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="tags")
    reference = models.CharField(max_length=300, blank=True)  # as the engine prints it: "shop/web:2.14"
    repository = models.CharField(max_length=300, blank=True)
    tag = models.CharField(max_length=130, blank=True)
    # The same by its full name, as grants speak of it; null for an image without one.
    image_name = models.ForeignKey(ImageName, null=True, on_delete=models.PROTECT, related_name="+")

    reach = Reach(environment="host__environment", name="image_name")

    class Meta:
        ordering = ["repository", "tag"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "reference"],
                condition=~models.Q(reference=""),
                name="image_tag_once_a_host",
            )
        ]
        indexes = [models.Index(fields=["repository", "tag"], name="image_tag_name")]

    def __str__(self) -> str:
        return self.reference or "<none>"


class Origin(models.Model):
    """One name of what an image was committed from, wherever that image is held now: whoever is to use it must have a
    right to that name. An empty one stands for an image without a name."""

    image_id = models.CharField(max_length=100)  # "sha256:…"
    repository = models.CharField(max_length=300, blank=True)  # full, as grants speak of it
    tag = models.CharField(max_length=130, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["image_id", "repository", "tag"], name="origin_once_an_image")]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.repository else "<none>"
