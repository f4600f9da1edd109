"""The forms of tokens and service accounts; the API's bodies are judged by them too."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.db.models import Q, QuerySet
from django.utils import timezone

from controlplane.access.decide import allows
from controlplane.access.models import Grant, Role, Standing, Team, User
from controlplane.access.patterns import parse_repositories, parse_tags
from controlplane.access.tokens import LONGEST_LIFE, PERSON, SERVICE, Narrowing, Wanted, parse_addresses
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.fields import ParsedField
from controlplane.lib.typed import Malformed
from controlplane.people.actions import Service
from hosts.access import environments
from hosts.models import Environment

DAYS = (7, 30, 90, 180, 365)
NAME = RegexValidator(r"\A[\w][\w .@+-]{0,78}\Z", "Expected letters, digits, spaces and “. _ - @ +”.")
ACCOUNT = RegexValidator(r"\A[a-z0-9][a-z0-9._-]{0,78}\Z", "Expected lower-case letters, digits and “. _ -”.")


def _saying(parse: Any) -> Any:
    def read(text: str) -> Any:
        try:
            return parse(text)
        except InvalidArgument as exc:
            raise Malformed(f"{exc.message} {exc.hint}".strip()) from exc

    return read


class TokenForm(forms.Form):
    """A token of `owner`, made by `actor`: how long, from where, and what it keeps of its owner's rights.

    Offered are the roles and environments that `actor` knows of.
    """

    name = forms.CharField(max_length=80, validators=[NAME])
    days = forms.IntegerField(
        min_value=1,
        initial=90,
        label="Days until it ends",
        widget=forms.NumberInput(attrs={"list": "token-days", "class": "mono"}),
    )
    role = forms.ModelChoiceField(
        Role.objects.none(), required=False, to_field_name="slug", empty_label="All that its owner may", label="Role"
    )
    environments = forms.ModelMultipleChoiceField(
        Environment.objects.none(),
        required=False,
        to_field_name="slug",
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )
    repositories = ParsedField(_saying(lambda text: parse_repositories(text or "**")), rows=2, placeholder="**")
    tags = ParsedField(_saying(lambda text: parse_tags(text or "*")), rows=1, placeholder="*")
    addresses = ParsedField(_saying(parse_addresses), rows=1, placeholder="192.0.2.0/24", label="Addresses")

    def __init__(self, *args: Any, owner: User, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].queryset = roles(actor)  # type: ignore[attr-defined]
        self.fields["environments"].queryset = environments(actor)  # type: ignore[attr-defined]
        self.most_days = LONGEST_LIFE[SERVICE if owner.is_service else PERSON].days
        self.fields["days"].widget.attrs["max"] = self.most_days
        self.offered = [each for each in (*DAYS, self.most_days) if each <= self.most_days]

    def clean_days(self) -> int:
        days: int = self.cleaned_data["days"]
        if days > self.most_days:
            raise forms.ValidationError(f"Expected at most {self.most_days} days, found {days}.")
        return days

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        narrower = ("environments", "repositories", "tags")
        if not data.get("role") and "role" not in self.errors and any(self._is_said(name) for name in narrower):
            self.add_error("role", "Expected a role beside environments, repositories or tags: choose one.")
        return data

    def _is_said(self, name: str) -> bool:
        value = self.cleaned_data.get(name)
        return bool(value) and value not in (["**"], ["*"])

    @property
    def wanted(self) -> Wanted:
        """The token, once the form is valid."""
        data = self.cleaned_data
        narrowing = None
        if data["role"]:
            chosen = [each.pk for each in data["environments"]] or None
            narrowing = Narrowing(data["role"], chosen, data["repositories"], data["tags"])
        return Wanted(data["name"], timezone.now() + timedelta(days=data["days"]), data["addresses"], narrowing)


def roles(actor: User) -> QuerySet[Role]:
    """Those that `actor` knows of: the built-in ones, and those granted to them; who manages access, all."""
    if allows(actor, "access.manage"):
        return Role.objects.all()
    held = Grant.objects.live().of(actor).values("role_id")
    return Role.objects.filter(Q(built_in=True) | Q(pk__in=held))


class ServiceForm(forms.Form):
    """A service account."""

    name = forms.CharField(max_length=80, validators=[ACCOUNT])
    purpose = forms.CharField(max_length=200, required=False)
    standing = forms.ChoiceField(
        choices=[choice for choice in Standing.choices if choice[0] != Standing.ADMINISTRATOR],
        initial=Standing.MEMBER,
        required=False,
    )
    responsible = forms.ModelChoiceField(
        User.objects.filter(is_service=False, is_active=True),
        required=False,
        to_field_name="username",
        empty_label="Nobody",
        label="Person who sees to it",
    )
    team = forms.ModelChoiceField(
        Team.objects.all(), required=False, to_field_name="slug", empty_label="None", label="Team that sees to it"
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if User.objects.filter(username=name).exists():
            raise forms.ValidationError(f"There is an account “{name}” already. Choose another name.")
        return name

    @property
    def service(self) -> Service:
        data = self.cleaned_data
        return Service(
            data["name"], data["purpose"], data["standing"] or Standing.MEMBER, data["responsible"], data["team"]
        )
