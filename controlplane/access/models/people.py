"""People, the one-time links that let them in, and the browsers they are in with."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

from controlplane.access.roles import Standing

if TYPE_CHECKING:
    from controlplane.access.models.tokens import Token


class User(AbstractUser):
    """One person who can sign in, or a service account, which cannot: it comes with a token."""

    standing = models.CharField(max_length=20, choices=Standing.choices, default=Standing.MEMBER)
    is_service = models.BooleanField(default=False)
    purpose = models.CharField(max_length=200, blank=True)  # of a service account
    # Who sees to a service account: one person, or the members of a team. Neither: whoever manages access.
    responsible = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="services")
    responsible_team = models.ForeignKey(
        "access.Team", null=True, blank=True, on_delete=models.SET_NULL, related_name="services"
    )

    # The token that speaks for them in this request or operation; None: they themselves. Not a column.
    token: Token | None = None

    class Meta:
        ordering = ["username"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(is_service=True, standing=Standing.ADMINISTRATOR), name="no_service_administers"
            )
        ]

    @property
    def is_narrowed(self) -> bool:
        """Whether a token speaks for them that leaves them less than they hold."""
        return self.token is not None and self.token.is_narrowed

    @property
    def can_sign_in(self) -> bool:
        """Whether there can be a session of theirs, however they prove who they are."""
        return self.is_active and not self.is_service

    @property
    def is_administrator(self) -> bool:
        return self.is_active and self.standing == Standing.ADMINISTRATOR

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
    """A one-time link that creates one user of the given standing."""

    token_hash = models.CharField(max_length=64, unique=True)
    standing = models.CharField(max_length=20, choices=Standing.choices)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="invitations_made")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    used_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="invitation")

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"invitation {self.pk} ({self.standing})"

    @classmethod
    def issue(
        cls, standing: str, *, created_by: User | None = None, lifetime: timedelta = timedelta(days=3)
    ) -> tuple[Invitation, str]:
        """Make an invitation; the token is returned once and only its hash is kept."""
        token = secrets.token_urlsafe(32)
        invitation = cls.objects.create(
            token_hash=hash_token(token),
            standing=standing,
            created_by=created_by,
            expires_at=timezone.now() + lifetime,
        )
        return invitation, token

    @property
    def is_open(self) -> bool:
        return self.used_at is None and self.expires_at > timezone.now()


class BrowserSession(models.Model):
    """One browser somebody is signed in with: what one sees of a session, beside Django's own row of the same key."""

    key = models.CharField(max_length=40, unique=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="browser_sessions")
    address = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=300, blank=True)
    began_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-seen_at", "-pk"]

    def __str__(self) -> str:
        return f"session {self.pk} of {self.user_id}"
