"""Form fields whose text is read by a function of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms

from controlplane.lib.typed import Malformed


def as_form_error(exc: Malformed) -> forms.ValidationError:
    """All faults of one field, as sentences."""
    return forms.ValidationError([problem[:1].upper() + problem[1:] for problem in exc.problems])


class WholeNumberField(forms.IntegerField):
    """A whole number within two bounds; may be left out. `meaning`: what the least one stands for."""

    def __init__(self, least: int, most: int, *, meaning: str = "", **kwargs: Any) -> None:
        errors = {
            "invalid": f"Expected a whole number, {least} or more.",
            "min_value": f"Expected {least}{f' ({meaning})' if meaning else ''} or more.",
        }
        super().__init__(required=False, min_value=least, max_value=most, error_messages=errors, **kwargs)


class ParsedField(forms.CharField):
    """Text that `parse` turns into something; its Malformed becomes the field's errors."""

    def __init__(self, parse: Callable[[str], Any], *, rows: int = 0, placeholder: str = "", **kwargs: Any) -> None:
        attrs = {"placeholder": placeholder, "spellcheck": "false", "autocomplete": "off"}
        if rows:
            kwargs["widget"] = forms.Textarea(attrs={**attrs, "rows": rows})
        else:
            kwargs["widget"] = forms.TextInput(attrs={**attrs, "class": "mono"})
        # Unstripped: line numbers count from the first line as typed, and a value may end in blanks.
        super().__init__(required=False, strip=False, max_length=200_000, **kwargs)
        self.parse = parse

    def clean(self, value: Any) -> Any:
        try:
            return self.parse(super().clean(value))
        except Malformed as exc:
            raise as_form_error(exc) from exc
