"""When a schedule is due next: the five fields of crontab(5), in UTC, read by Celery's own crontab."""

from __future__ import annotations

from datetime import datetime, timedelta

from celery.schedules import ParseException, crontab

from controlplane.lib.errors import InvalidArgument


def parse(text: str, now: datetime | None = None) -> crontab:
    """`now`: what it takes for the present. Raises InvalidArgument."""
    fields = text.split()
    if len(fields) != 5:
        raise InvalidArgument(
            f"Expected five fields, minute hour day month weekday, found {len(fields)}.",
            "Such as 30 3 * * 1-5: at 3:30 UTC from Monday to Friday.",
        )
    try:
        return crontab(*_in_order(fields), nowfun=(lambda: now) if now else None)
    except (ParseException, ValueError, TypeError) as exc:
        raise InvalidArgument(f"“{text}” is no schedule: {exc}.", "Numbers, *, ranges 1-5, steps */10.") from exc


def _in_order(fields: list[str]) -> tuple[str, str, str, str, str]:
    """Celery's order: minute, hour, weekday, day, month."""
    minute, hour, day, month, weekday = fields
    return minute, hour, weekday, day, month


def next_time(text: str, after: datetime) -> datetime:
    """The first moment after `after`. Raises InvalidArgument, also for one that never comes (31 February)."""
    schedule = parse(text, after)
    try:
        wait = schedule.remaining_estimate(after)
    except (RuntimeError, OverflowError, ValueError) as exc:
        raise InvalidArgument(f"“{text}” never comes.", "Look at the day and the month.") from exc
    return (after + max(wait, timedelta(seconds=1))).replace(microsecond=0)
