"""The forms on hosts and environments."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.text import slugify

from controlplane.access.decide import Actor, allows
from controlplane.access.giving import EVERYTHING
from hosts.access import environments
from hosts.models import Environment, Host

NAME = RegexValidator(
    r"\A[\w][\w .@-]{0,118}\Z",
    "Expected letters, digits, spaces and “. _ - @”, beginning with a letter or digit.",
)
MOST_LABELS = 64


class LabelsField(forms.CharField):
    """Labels as lines `key=value`; the value is a dict."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "rack=b2\ntier=edge"})

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return "\n".join(f"{key}={text}" for key, text in sorted(value.items()))
        return value

    def to_python(self, value: Any) -> Any:
        labels: dict[str, str] = {}
        lines = [line.strip() for line in str(value or "").splitlines()]
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            key, equals, text = (part.strip() for part in line.partition("="))
            if not equals or not key or any(c.isspace() for c in key):
                raise forms.ValidationError(f"Line {number}: expected key=value, found “{line[:60]}”.")
            if key in labels:
                raise forms.ValidationError(f"Line {number}: the label “{key}” is given twice.")
            labels[key] = text
        if len(labels) > MOST_LABELS:
            raise forms.ValidationError(f"Expected at most {MOST_LABELS} labels, found {len(labels)}.")
        return labels

    def validate(self, value: Any) -> None:
        """An empty dict is a fine set of labels."""


class AddHostForm(forms.ModelForm):
    """The place kept for a host that will join, in an environment whose hosts `actor` manages.

    That a name is taken is told to whoever chooses it, also when the host that has it is not seen: the name is one's
    own guess, and there is no other way to refuse it.
    """

    name = forms.CharField(
        max_length=120,
        validators=[NAME],
        error_messages={"unique": "There is a host of this name already. Choose another."},
    )
    environment = forms.ModelChoiceField(Environment.objects.none(), required=False, empty_label="None")
    labels = LabelsField(required=False)

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["environment"]
        field.queryset = environments(actor, "host.manage")  # type: ignore[attr-defined]
        field.required = not allows(actor, "host.manage", EVERYTHING)

    class Meta:
        model = Host
        fields: tuple[str, ...] = ("name", "environment", "labels")


class HostForm(AddHostForm):
    """Rename, label, put into an environment, limit its pulls."""

    pull_limit = forms.IntegerField(
        min_value=1, max_value=32, help_text="How many pulls may run on it at once.", label="Pulls at once"
    )

    class Meta(AddHostForm.Meta):
        fields = ("name", "environment", "labels", "pull_limit")


class EnvironmentForm(forms.ModelForm):
    """A new environment. Its slug comes from its name."""

    name = forms.CharField(max_length=60, validators=[NAME])

    class Meta:
        model = Environment
        fields = ("name",)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        slug = slugify(name)
        if not slug:
            raise forms.ValidationError("Expected at least one letter or digit.")
        if Environment.objects.filter(slug=slug).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError(f"There is an environment “{slug}” already.")
        self.instance.slug = slug
        return name
