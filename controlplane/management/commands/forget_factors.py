"""`./gantry manage forget_factors NAME`: for an administrator who has lost theirs, with nobody left to ask."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AnonymousUser
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from controlplane.access import sessions
from controlplane.access.models import User
from controlplane.operations.audit import record


class Command(BaseCommand):
    help = "Take away all second factors of one person, and end their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the username")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"There is nobody called {options['name']!r}.")
        with transaction.atomic():
            Authenticator.objects.filter(user=user).delete()
            sessions.end_all(user)
            detail = f"took away {user.username}'s second factors on the machine itself"
            record(
                AnonymousUser(), "access.manage", target_kind="user", target_id=user.pk, detail=detail, stranger="root"
            )
        self.stdout.write(f"{user.username} signs in with the password alone now.")
