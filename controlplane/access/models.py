"""People, and the one-time links that let them in."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone


class Role(models.TextChoices):
    """The built-in roles; `roles.VERBS` says what each may do."""

    ADMINISTRATOR = "administrator", "Administrator"
    VIEWER = "viewer", "Viewer"


class User(AbstractUser):
    """One person who can sign in."""

    role = models.CharField(max_length=20, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        ordering = ["username"]

    @property
    def is_administrator(self) -> bool:
        return self.is_active and self.role == Role.ADMINISTRATOR

    @property
    def display(self) -> str:
        return self.get_full_name() or self.username


def hash_token(token: str) -> str:
    """What is kept of a one-time token. A plain hash suffices: the token has 256 bits of its own."""
    return hashlib.sha256(token.encode()).hexdigest()


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        return self.filter(used_at=None, expires_at__gt=timezone.now())


class Invitation(models.Model):
    """A one-time link that creates one user with the given role."""

    token_hash = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=20, choices=Role.choices)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="invitations_made")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    used_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="invitation")

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"invitation {self.pk} ({self.role})"

    @classmethod
    def issue(
        cls, role: str, *, created_by: User | None = None, lifetime: timedelta = timedelta(days=3)
    ) -> tuple[Invitation, str]:
        """Make an invitation; the token is returned once and only its hash is kept."""
        token = secrets.token_urlsafe(32)
        invitation = cls.objects.create(
            token_hash=hash_token(token),
            role=role,
            created_by=created_by,
            expires_at=timezone.now() + lifetime,
        )
        return invitation, token

    @property
    def is_open(self) -> bool:
        return self.used_at is None and self.expires_at > timezone.now()
