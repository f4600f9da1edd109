"""What a page offers to whom: the same decision as behind it."""

from __future__ import annotations

from django import template
from django.db.models import Model
from django.template.context import Context

from controlplane.access.decide import allows

register = template.Library()


@register.simple_tag(takes_context=True)
def allowed(context: Context, verb: str, target: Model | None = None) -> bool:
    """Whether whoever looks at the page may do `verb` to `target`, or to anything at all."""
    return allows(context["request"].user, verb, target)
