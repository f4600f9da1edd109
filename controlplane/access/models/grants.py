"""Teams, roles, grants, and the names of images that grants speak of."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from controlplane.access.models.people import User
from controlplane.access.models.tokens import Token
from controlplane.access.patterns import EVERY_REPOSITORY, EVERY_TAG, Scope
from controlplane.access.roles import ALL_VERBS, BUILT_IN

LONGEST_REPOSITORY, LONGEST_TAG = 330, 130


class ImageName(models.Model):
    """One repository and tag, by its full name: docker.io/shop/web, dev-1. Never changed, never removed."""

    repository = models.CharField(max_length=LONGEST_REPOSITORY)
    tag = models.CharField(max_length=LONGEST_TAG, blank=True)

    class Meta:
        ordering = ["repository", "tag"]
        constraints = [models.UniqueConstraint(fields=["repository", "tag"], name="image_name_once")]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else self.repository


class Team(models.Model):
    """People who are given rights together. `group`: what an identity provider calls it, or empty."""

    name = models.CharField(max_length=80, unique=True)
    slug = models.SlugField(max_length=80, unique=True)
    group = models.CharField(max_length=200, blank=True)
    members = models.ManyToManyField(User, related_name="teams", blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Role(models.Model):
    """A named set of verbs. The built-in ones are made by a migration and stay as they are."""

    name = models.CharField(max_length=60, unique=True)
    slug = models.SlugField(max_length=60, unique=True)
    description = models.CharField(max_length=300, blank=True)
    verbs = models.JSONField(default=list)
    built_in = models.BooleanField(default=False)
    # Whoever holds it must sign in with a second factor.
    second_factor = models.BooleanField(default=False)

    class Meta:
        ordering = ["-built_in", "id"]

    def __str__(self) -> str:
        return self.name

    @property
    def known_verbs(self) -> frozenset[str]:
        return known_verbs(self.slug, self.verbs, built_in=self.built_in)


def known_verbs(slug: str, verbs: list[str], *, built_in: bool) -> frozenset[str]:
    """A role's verbs, without those that this Gantry does not know; of a built-in one, those that it has here."""
    return BUILT_IN[slug][2] if built_in and slug in BUILT_IN else ALL_VERBS & set(verbs)


def _every_repository() -> list[str]:
    return list(EVERY_REPOSITORY)


def _every_tag() -> list[str]:
    return list(EVERY_TAG)


class GrantQuerySet(models.QuerySet["Grant"]):
    def live(self) -> GrantQuerySet:
        """Those that have not expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))

    def of(self, user: User) -> GrantQuerySet:
        """Those of `user` and of their teams."""
        teams = Team.members.through.objects.filter(user_id=user.pk).values("team_id")
        return self.filter(Q(user_id=user.pk) | Q(team_id__in=teams))


class Grant(models.Model):
    """Who may do what where: a user or a team, a role, environments, repositories and tags. One held by a token
    gives nothing by itself: it says what of its owner's rights the token has."""

    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    token = models.ForeignKey("access.Token", null=True, blank=True, on_delete=models.CASCADE, related_name="grants")
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="grants")
    every_environment = models.BooleanField(default=False)
    environments = models.ManyToManyField("hosts.Environment", related_name="grants", blank=True)
    repositories = models.JSONField(default=_every_repository)  # patterns: access.patterns
    tags = models.JSONField(default=_every_tag)
    names = models.ManyToManyField(ImageName, related_name="+", editable=False)  # what the patterns cover
    expires_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    objects = GrantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, team=None, token=None)
                | Q(user=None, team__isnull=False, token=None)
                | Q(user=None, team=None, token__isnull=False),
                name="grant_to_one_holder",
            )
        ]

    def __str__(self) -> str:
        return f"{self.role} for {self.holder} on {self.scope}"

    @property
    def holder(self) -> User | Team | Token:
        return self.user or self.team or self.token  # type: ignore[return-value]  # the constraint says: one of them

    @property
    def scope(self) -> Scope:
        return Scope(tuple(self.repositories), tuple(self.tags))

    @property
    def is_live(self) -> bool:
        return self.expires_at is None or self.expires_at > timezone.now()
