"""The forms that give a container other limits, and that make an image of it."""

from __future__ import annotations

from typing import Any

from django import forms

from containers import spec
from containers.limits import Changes, limit, policy_of
from containers.models import Container
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.fields import ParsedField, WholeNumberField, as_form_error
from controlplane.lib.references import parse
from controlplane.lib.typed import Malformed, each_line, parse_memory
from hosts.rules.limits import cpus

# Engine API, ImageCommit: what `changes` may hold. The two that say how an image is run are left to a build.
INSTRUCTIONS = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "ONBUILD", "USER", "VOLUME", "WORKDIR")


def parse_changes(text: str) -> list[str]:
    """One instruction of a Dockerfile a line. Raises Malformed."""
    return [line for _, line in each_line(text, _change)]


def _change(line: str) -> str:
    line = line.strip()
    word, _, rest = line.partition(" ")
    if word.upper() not in INSTRUCTIONS:
        raise Malformed(f"expected one of {', '.join(INSTRUCTIONS)}, found “{word[:60]}”.")
    if not rest.strip() or line.endswith("\\"):
        raise Malformed(f"expected the whole instruction on its line, found “{line[-60:]}”.")
    if word.upper() in ("LABEL", "ONBUILD") and spec.RESERVED_LABELS in rest:
        raise Malformed(f"labels under “{spec.RESERVED_LABELS}” are Gantry's own. Choose another key.")
    return f"{word.upper()} {rest.strip()}"


def parse_new_name(text: str) -> str:
    """The familiar form of a name to give. Raises Malformed."""
    try:
        reference = parse(text.strip())
    except InvalidArgument as exc:
        raise Malformed(f"{exc.message} {exc.hint}".strip()) from exc
    if reference.digest:
        raise Malformed("expected a name to give, found the digest of something that is there.")
    return reference.familiar


class UpdateForm(forms.Form):
    """Limits and restarts of one container. A field that is not sent stays as it is; an empty limit is none."""

    memory = ParsedField(parse_memory, placeholder="none")
    cpus = forms.CharField(required=False, max_length=40, label="CPUs")
    pids = WholeNumberField(1, 2**22, label="Processes at most")
    restart = forms.ChoiceField(choices=[("", "As it is"), *spec.POLICIES.items()], required=False)
    retries = WholeNumberField(0, 2**31 - 1, meaning="no end", label="Retries at most")

    def __init__(self, *args: Any, container: Container, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.container = container
        plain = {"class": "mono", "spellcheck": "false", "autocomplete": "off"}
        self.fields["cpus"].widget.attrs |= {**plain, "placeholder": "none", "inputmode": "decimal"}
        self.fields["pids"].widget.attrs |= {"class": "mono", "placeholder": "none"}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        self._check_cpus(data)
        self._check_restart(data)
        if not self.errors and self.changes.is_empty:
            raise forms.ValidationError("Expected another limit or restart policy, found nothing.")
        return data

    def _check_cpus(self, data: dict[str, Any]) -> None:
        try:
            data["nano_cpus"] = spec.parse_cpus(data.get("cpus") or "", self.container.host.cpus or None)
        except Malformed as exc:
            self.add_error("cpus", as_form_error(exc))

    def _check_restart(self, data: dict[str, Any]) -> None:
        data["policy"] = None
        if not data.get("restart"):
            return
        try:
            data["policy"] = spec.restart_policy(data["restart"], data.get("retries"))
        except Malformed as exc:
            self.add_error("retries", as_form_error(exc))

    @property
    def changes(self) -> Changes:
        """What is asked for, once it is valid."""
        data = self.cleaned_data
        return Changes(
            memory=data["memory"] if "memory" in self.data else None,
            nano_cpus=data["nano_cpus"] if "cpus" in self.data else None,
            pids=(data["pids"] or 0) if "pids" in self.data else None,
            restart=data["policy"],
        )


def present(host: dict[str, Any]) -> dict[str, Any]:
    """What the form shows of a container's HostConfig."""
    policy = policy_of(host)
    return {
        "memory": spec.memory_text(limit(host, "Memory")),
        "cpus": spec.cpus_text(cpus(host)),
        "pids": limit(host, "PidsLimit") or "",
        "restart": policy["Name"],
        "retries": policy["MaximumRetryCount"] or "",
    }


class CommitForm(forms.Form):
    """What to call the image of a container, and what is other in it."""

    reference = ParsedField(
        parse_new_name,
        placeholder="shop/web:dev-2",
        error_messages={"required": "Expected a name for the image, such as shop/web:dev-2, found nothing."},
    )
    comment = forms.CharField(required=False, max_length=500, label="Message")
    author = forms.CharField(required=False, max_length=200)
    changes = ParsedField(parse_changes, rows=4, placeholder='ENV MODE=prod\nCMD ["serve"]')
    pause = forms.BooleanField(required=False, label="Pause it meanwhile")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reference"].required = True
