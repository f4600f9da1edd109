"""The forms on containers. The one that runs a container is in `run_form`."""

from __future__ import annotations

from django import forms
from django.core.validators import RegexValidator

# Docker's own rule (daemon/names: RestrictedNameChars).
NAME = RegexValidator(
    r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z",
    "Expected two or more letters, digits, “_”, “.” or “-”, beginning with a letter or digit.",
)


class RenameForm(forms.Form):
    name = forms.CharField(max_length=250, validators=[NAME])


class RemoveForm(forms.Form):
    """`force` kills running ones first; `volumes` removes the anonymous volumes with them."""

    force = forms.BooleanField(required=False)
    volumes = forms.BooleanField(required=False)
