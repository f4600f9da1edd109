"""The forms by which people come in and are let in."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm

from controlplane.access.models import Role, User


class AccountForm(BaseUserCreationForm):
    """What a person says of themselves when they accept an invitation."""

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name", "email")

    def clean_first_name(self) -> str:
        return _on_one_line(self.cleaned_data["first_name"])

    def clean_last_name(self) -> str:
        return _on_one_line(self.cleaned_data["last_name"])


def _on_one_line(name: str) -> str:
    """Names stand in every list and log: no line ends, and nothing that turns the direction of writing around."""
    if not name.isprintable():
        raise forms.ValidationError("Expected a name of letters, found control characters.")
    return name


class InviteForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.VIEWER)


class PersonForm(forms.Form):
    """An administrator's change to one person."""

    role = forms.ChoiceField(choices=Role.choices)
    is_active = forms.BooleanField(required=False)
