"""The people there are, as whoever manages access sees them."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from controlplane.access import sessions
from controlplane.access.models import User
from controlplane.access.second_factor import KINDS


def everybody() -> QuerySet[User]:
    """Everybody who can sign in, with `session_count` and `with_second_factor`."""
    stored = sessions.open_sessions_of_all().filter(user=OuterRef("pk")).order_by().values("user")
    return User.objects.filter(is_service=False).annotate(
        session_count=Coalesce(Subquery(stored.annotate(count=Count("pk")).values("count")), 0),
        with_second_factor=Exists(Authenticator.objects.filter(user=OuterRef("pk"), type__in=KINDS)),
    )
