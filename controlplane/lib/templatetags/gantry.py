"""Template tags and filters of the pages: sizes, durations, times, icons, states and form widgets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.core.paginator import Page
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect, Select
from django.template.context import Context
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from controlplane.lib.looks import Look, exited, look

register = template.Library()

NOTHING = "–"


@register.filter("bytes")
def bytes_(value: float | None) -> str:
    """A size on disk or on the wire in decimal units, as the docker CLI writes it: 148 MB."""
    return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


@register.filter
def memory(value: float | None) -> str:
    """A size of memory in binary units: 31.2 GiB."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(value: float | str | None, base: int, units: tuple[str, ...]) -> str:
    if value is None or value == "":
        return NOTHING
    amount = float(value)
    for unit in units:
        if abs(amount) < base or unit == units[-1]:
            digits = 0 if unit == units[0] or abs(amount) >= 100 else 1
            text = f"{amount:.{digits}f}"
            return f"{text.removesuffix('.0')} {unit}"
        amount /= base
    raise AssertionError("the last unit ends the loop")


@register.filter
def duration(value: timedelta | float | None) -> str:
    """A length of time with two units at most: 0.4 s, 12 s, 3 min 12 s, 2 h 5 min, 3 d 4 h."""
    if value is None or value == "":
        return NOTHING
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    steps = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    size, unit, smaller, smaller_unit = next(step for step in steps if whole >= step[0])
    head, rest = divmod(whole, size)
    tail = rest // smaller
    return f"{head} {unit} {tail} {smaller_unit}" if tail else f"{head} {unit}"


@register.filter
def took(operation: Any) -> str:
    """How long an operation ran, or has been running; a dash before it started."""
    started = getattr(operation, "started_at", None)
    if started is None:
        return NOTHING
    return duration((getattr(operation, "finished_at", None) or timezone.now()) - started)


@register.filter
def short_id(value: str | None) -> str:
    """The first 12 characters of an engine's id or a digest, without its algorithm."""
    return (value or "").removeprefix("sha256:")[:12]


@register.filter
def item(mapping: Mapping[str, Any] | None, key: str) -> Any:
    """One value of a mapping by a key held in a variable; nothing when it is not there."""
    return (mapping or {}).get(key)


@register.filter
def percent(part: float | None, whole: float | None) -> int | str:
    """A share as a whole number of per cent; empty when either is unknown or the whole is 0."""
    if part is None or not whole:
        return ""
    return round(100 * float(part) / float(whole))


@register.filter
def level(share: float | str | None) -> str:
    """The tone of a share in per cent that is bad when it is high: ok, warn from 75, bad from 90."""
    if share is None or share == "":
        return "idle"
    value = float(share)
    return "bad" if value >= 90 else "warn" if value >= 75 else "plain"


@register.filter
def pretty_json(value: Any) -> str:
    """A value as indented JSON, keys in the order given. Escaped like any text by the template."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """One icon of the sprite, hidden from screen readers: the text or the label beside it names the thing."""
    return format_html(
        '<svg class="icon{}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        f" {extra}" if extra else "",
        static("img/icons.svg"),
        name,
    )


@register.simple_tag
def state_look(kind: str, state: str, exit_code: int | str | None = None) -> Look:
    """Shape, tone and word of a state, for the component that draws it."""
    if kind == "container" and state == "exited" and not isinstance(exit_code, str):
        return exited(exit_code)
    return look(kind, state)


@register.simple_tag
def ago(when: datetime | None, empty: str = NOTHING) -> SafeString | str:
    """A moment as a <time> that the browser keeps relative ("3 min ago"); the title has the exact one."""
    if when is None or when == "":
        return empty
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        when.isoformat(),
        f"{when:%Y-%m-%d %H:%M:%S %Z}",
        _relative(when),
    )


@register.simple_tag
def clock(when: datetime | None, empty: str = NOTHING) -> SafeString | str:
    """A moment as a <time> that the browser writes in the reader's own time zone ("14:02")."""
    if when is None or when == "":
        return empty
    return format_html(
        '<time datetime="{}" title="{}" data-clock>{}</time>',
        when.isoformat(),
        f"{when:%Y-%m-%d %H:%M:%S %Z}",
        f"{when:%H:%M}" if timezone.now() - when < timedelta(hours=20) else f"{when:%d %b %H:%M}",
    )


def _relative(when: datetime) -> str:
    """The text before the script ticks; static/js/ui/time.js says the same."""
    seconds = int((timezone.now() - when).total_seconds())
    if seconds < 0:
        return f"in {duration(-seconds)}"
    if seconds < 5:
        return "just now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


@register.simple_tag(takes_context=True)
def sorting(context: Context, field: str, default: str = "") -> dict[str, str]:
    """What a sortable column needs: its next `sort` value, and what it is now in aria-sort's words."""
    current = str(context.get("sort") or context["request"].GET.get("sort", "") or default)
    if current == field:
        return {"next": f"-{field}", "now": "ascending"}
    return {"next": field, "now": "descending" if current == f"-{field}" else "none"}


@register.filter
def widget(field: BoundField, hint: str = "") -> SafeString:
    """A form field's control with the class its kind needs. Django adds the aria attributes for errors and its
    own help text; `hint` is the page's, in an element with the id Django would give it."""
    control = field.field.widget
    if isinstance(control, (CheckboxSelectMultiple, RadioSelect)):
        return field.as_widget(attrs={"class": "choices"})
    if isinstance(control, CheckboxInput):
        style = "form-check-input"
    elif isinstance(control, Select):
        style = "form-select"
    else:
        style = "form-control"
    given = control.attrs.get("class", "")
    wrong = " is-invalid" if field.errors else ""
    attrs: dict[str, Any] = {"class": f"{style} {given}{wrong}".strip()}
    if hint and not field.help_text:
        error = f" {field.auto_id}_error" if field.errors else ""
        attrs["aria-describedby"] = f"{field.auto_id}_helptext{error}"
    return field.as_widget(attrs=attrs)


@register.filter
def is_checkbox(field: BoundField) -> bool:
    """Whether the label of this field belongs behind its control."""
    control = field.field.widget
    return isinstance(control, CheckboxInput) and not isinstance(control, CheckboxSelectMultiple)


@register.filter
def classname(value: Any) -> str:
    """A name as it may stand in a class attribute: letters, digits and dashes."""
    return "".join(char if char.isalnum() else "-" for char in str(value).lower())


@register.simple_tag
def page_numbers(page: Page[Any]) -> list[int | str]:
    """The numbers to offer around the present page, with an ellipsis for what is left out."""
    return list(page.paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1))


@register.filter
def fits(verb: Any, target: Any) -> bool:
    """Whether a verb makes sense for a target in its present state; the verb itself decides."""
    return bool(verb.fits(target))


@register.filter
def named(verbs: Iterable[Any], name: str) -> Any:
    """The verb of that name among those the person may use; None when it is not there."""
    return next((verb for verb in verbs if verb.name == name), None)


@register.simple_tag
def percent_of(mapping: Mapping[str, Any] | None, part: str, whole: str) -> int | str:
    """`percent` of two values of one mapping, such as a host's metrics."""
    values = mapping or {}
    return percent(values.get(part), values.get(whole))


@register.filter
def distribution(name: str) -> str:
    """An operating system's name without the words that tell nobody anything: "Debian 12"."""
    return name.replace(" GNU/Linux", "").replace(" LTS", "").partition(" (")[0]


@register.filter
def published(ports: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """The ports reachable on the host, each once: an engine lists IPv4 and IPv6 apart."""
    seen: dict[tuple[Any, Any, Any], Mapping[str, Any]] = {}
    for port in ports or []:
        if port.get("host"):
            seen.setdefault((port.get("host"), port.get("container"), port.get("protocol")), port)
    return sorted(seen.values(), key=lambda port: int(port["host"]))


@register.filter
def as_json(value: Any) -> str:
    """A value as JSON on one line, for a data attribute; the template escapes it."""
    return json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def hit(container: Any) -> list[str]:
    """One container as a confirmation names it."""
    return [f"{container.name} on {container.host.name}"]


@register.filter
def engine(kind: str) -> str:
    """An engine's name as its makers write it."""
    return {"docker": "Docker", "podman": "Podman", "gantry": "Gantry native"}.get(kind, kind)
