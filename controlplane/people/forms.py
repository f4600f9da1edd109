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


class InviteForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices, initial=Role.VIEWER)


class PersonForm(forms.Form):
    """An administrator's change to one person."""

    role = forms.ChoiceField(choices=Role.choices)
    is_active = forms.BooleanField(required=False)
