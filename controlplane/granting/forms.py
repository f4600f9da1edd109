"""The forms of teams, roles and grants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils import timezone

from controlplane.access.giving import managed
from controlplane.access.grant_actions import Asked
from controlplane.access.models import Role, Team, User
from controlplane.access.patterns import parse_repositories, parse_tags
from controlplane.access.roles import ALL_VERBS, VERBS
from controlplane.granting.access import environments
from controlplane.lib.errors import InvalidArgument
from hosts.models import Environment

NAME = RegexValidator(
    r"\A[\w][\w .@/&+-]*\Z",
    "Expected letters, digits, spaces and “. _ - @ / & +”, beginning with a letter or digit.",
)
ONE_LINE = RegexValidator(r"\A[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*\Z", "Expected one line of text.")
GROUPS = {
    "host": "Hosts",
    "image": "Images and builds",
    "container": "Containers",
    "operation": "Operations",
    "registry": "Administration",
    "rules": "Administration",
    "audit": "Administration",
    "access": "Administration",
}
TIME = "%Y-%m-%dT%H:%M"


def verbs_by_kind() -> dict[str, list[tuple[str, str]]]:
    """Every verb with what it lets one do, under what it is about."""
    found: dict[str, list[tuple[str, str]]] = {}
    for verb, words in VERBS.items():
        found.setdefault(GROUPS.get(verb.partition(".")[0], "Administration"), []).append((verb, words))
    return found


class PatternsField(forms.CharField):
    """A list of patterns, parted by spaces, commas or lines."""

    def __init__(self, read: Callable[[str], list[str]], every: str) -> None:
        attrs = {"rows": 2, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off"}
        super().__init__(initial=every, required=False, max_length=12_000, widget=forms.Textarea(attrs=attrs))
        self.read = read

    def prepare_value(self, value: Any) -> Any:
        return " ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        try:
            return self.read(super().clean(value))
        except InvalidArgument as exc:
            raise forms.ValidationError(f"{exc.message} {exc.hint}".strip()) from exc


def _choices() -> list[tuple[str, Any]]:
    people = User.objects.filter(is_active=True)
    return [
        ("", "Choose a person or a team"),
        ("Teams", [(f"team:{team.pk}", team.name) for team in Team.objects.all()]),
        ("People", [(f"user:{each.pk}", _named(each)) for each in people]),
    ]


def _named(person: User) -> str:
    return person.username if person.display == person.username else f"{person.display} ({person.username})"


class GrantForm(forms.Form):
    """One grant. `actor`: whose environments are offered; `holder_stays`: to whom is not asked."""

    holder = forms.ChoiceField(
        label="To",
        error_messages={
            "required": "Expected a person or a team, found none.",
            "invalid_choice": "Expected a person or a team that is there.",
        },
    )
    role = forms.ModelChoiceField(
        Role.objects.all(), empty_label="Choose a role", error_messages={"required": "Expected a role, found none."}
    )
    every_environment = forms.BooleanField(required=False, label="Every environment, and hosts in none")
    environments = forms.ModelMultipleChoiceField(
        Environment.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )
    repositories = PatternsField(parse_repositories, "**")
    tags = PatternsField(parse_tags, "*")
    expires_at = forms.DateTimeField(
        required=False,
        label="Ends",
        input_formats=[TIME, "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=TIME),
        error_messages={"invalid": "Expected a day and a time, such as 2027-01-31 18:00."},
    )
    reason = forms.CharField(required=False, max_length=300, validators=[ONE_LINE])

    def __init__(self, *args: Any, actor: User, holder_stays: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if holder_stays:
            del self.fields["holder"]
        else:
            self.fields["holder"].choices = _choices()  # type: ignore[attr-defined]
        if managed(actor) is not None:
            del self.fields["every_environment"]
        self.fields["environments"].queryset = environments(actor)  # type: ignore[attr-defined]

    def clean_expires_at(self) -> Any:
        until = self.cleaned_data["expires_at"]
        if until is not None and until <= timezone.now():
            raise forms.ValidationError("Expected an end in the future, found one that has passed.")
        return until

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if "environments" in data and not data.get("every_environment") and not data["environments"]:
            self.add_error("environments", "Expected at least one environment, found none.")
        return data

    @property
    def places(self) -> frozenset[int] | None:
        """The environments that are chosen; None: every one. After `is_valid`, whatever that said."""
        if self.cleaned_data.get("every_environment"):
            return None
        return frozenset(each.pk for each in self.cleaned_data.get("environments") or ())

    @property
    def to(self) -> User | Team:
        kind, _, pk = self.cleaned_data["holder"].partition(":")
        return Team.objects.get(pk=pk) if kind == "team" else User.objects.get(pk=pk)

    def asked(self) -> Asked:
        data = self.cleaned_data
        return Asked(data["role"], self.places, data["repositories"], data["tags"], data["expires_at"], data["reason"])


class TeamForm(forms.ModelForm):
    """A team's name, and the group of an identity provider whose people belong to it."""

    name = forms.CharField(
        max_length=80,
        validators=[NAME],
        error_messages={"unique": "There is a team of this name already. Choose another."},
    )
    group = forms.CharField(max_length=200, required=False, validators=[ONE_LINE])

    class Meta:
        model = Team
        fields = ("name", "group")


class MembersForm(forms.Form):
    """People to add to a team."""

    people = forms.ModelMultipleChoiceField(User.objects.none())

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        outside = User.objects.filter(is_active=True).exclude(teams=team)
        self.fields["people"].queryset = outside  # type: ignore[attr-defined]
        self.fields["people"].label_from_instance = _named  # type: ignore[attr-defined]


class RoleForm(forms.ModelForm):
    """A role of one's own."""

    name = forms.CharField(
        max_length=60,
        validators=[NAME],
        error_messages={"unique": "There is a role of this name already. Choose another."},
    )
    description = forms.CharField(max_length=300, required=False, validators=[ONE_LINE])
    verbs = forms.MultipleChoiceField(
        choices=list(VERBS.items()),
        error_messages={"required": "Expected at least one right, found none."},
    )

    class Meta:
        model = Role
        fields = ("name", "description")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial.setdefault("verbs", sorted(self.instance.known_verbs))

    @property
    def ticked(self) -> set[str]:
        return set(self["verbs"].value() or ()) & ALL_VERBS
