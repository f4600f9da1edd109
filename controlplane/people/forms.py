"""The forms by which people come in and are let in."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm

from controlplane.access.models import Role, Standing, User


class NamesOnOneLine(forms.ModelForm):
    """A person's names, fit for lists and logs."""

    def clean_first_name(self) -> str:
        return _on_one_line(self.cleaned_data["first_name"])

    def clean_last_name(self) -> str:
        return _on_one_line(self.cleaned_data["last_name"])


class AccountForm(NamesOnOneLine, BaseUserCreationForm):
    """What a person says of themselves when they accept an invitation."""

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name", "email")


class NameForm(NamesOnOneLine):
    """What a person may change of it later."""

    class Meta:
        model = User
        fields = ("first_name", "last_name", "email")


def _on_one_line(name: str) -> str:
    """Names stand in every list and log: no line ends, and nothing that turns the direction of writing around."""
    if not name.isprintable():
        raise forms.ValidationError("Expected a name of letters, found control characters.")
    return name


class InviteForm(forms.Form):
    standing = forms.ChoiceField(choices=Standing.choices, initial=Standing.VIEWER)


class PersonForm(forms.Form):
    """An administrator's change to one person."""

    standing = forms.ChoiceField(choices=Standing.choices)
    is_active = forms.BooleanField(required=False)


class PolicyForm(forms.Form):
    """The roles that ask for a second factor; those not ticked do not."""

    roles = forms.ModelMultipleChoiceField(Role.objects.all(), to_field_name="slug", required=False)
