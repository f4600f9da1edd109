"""The forms on images."""

from __future__ import annotations

from typing import Any

from django import forms

from controlplane.access.decide import Actor, visible
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.lists import row_ids
from controlplane.lib.references import parse
from hosts.access import environments
from hosts.models import Environment, Host, HostState


def reference_field(text: str) -> str:
    """The familiar form of what was typed. Raises ValidationError with the reason and the next step."""
    try:
        return parse(text.strip()).familiar
    except InvalidArgument as exc:
        raise forms.ValidationError(f"{exc.message} {exc.hint}".strip()) from exc


class RowsField(forms.ModelMultipleChoiceField):
    """Several rows by their ids. Django hands an id of any length on to the database, which breaks over it."""

    def clean(self, value: Any) -> Any:
        for text in value or []:
            if not row_ids([str(text)]):
                message = self.error_messages["invalid_pk_value"]
                raise forms.ValidationError(message, code="invalid_pk_value", params={"pk": str(text)[:40]})
        return super().clean(value)


class HostsField(RowsField):
    """Several hosts; the label says which are out of contact."""

    widget = forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})

    def label_from_instance(self, host: Host) -> str:
        return host.name if host.is_connected else f"{host.name} ({host.get_state_display().lower()})"


class PullForm(forms.Form):
    """One reference, and where it is to be: hosts, whole environments, every connected host; all are added up."""

    reference = forms.CharField(
        max_length=1000,
        error_messages={"required": "Expected the name of an image, such as nginx:1.27, found nothing."},
        widget=forms.TextInput(
            attrs={
                "class": "mono",
                "placeholder": "registry.example:5000/shop/web:2.14",
                "spellcheck": "false",
                "autocomplete": "off",
                "list": "known-images",
            }
        ),
    )
    everywhere = forms.BooleanField(required=False, label="All connected hosts")
    environments = RowsField(
        queryset=Environment.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
    )
    hosts = HostsField(queryset=Host.objects.none(), required=False)
    registry_user = forms.CharField(
        required=False,
        max_length=250,
        widget=forms.TextInput(attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}),
    )
    registry_password = forms.CharField(
        required=False,
        max_length=4000,
        strip=False,
        widget=forms.PasswordInput(render_value=True, attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.permitted = visible(actor, "image.pull", Host.objects.exclude(public_key=""))
        self.fields["hosts"].queryset = self.permitted  # type: ignore[attr-defined]
        self.fields["environments"].queryset = environments(actor, "image.pull")  # type: ignore[attr-defined]

    def clean_reference(self) -> str:
        return reference_field(self.cleaned_data["reference"])

    def clean_hosts(self) -> list[Host]:
        hosts: list[Host] = list(self.cleaned_data["hosts"])
        away = [host.name for host in hosts if not host.is_connected]
        if away:
            raise forms.ValidationError(f"Expected connected hosts, found {', '.join(away)} out of contact.")
        return hosts

    def clean(self) -> dict[str, Any]:
        """What concerns more than one field; `chosen` are the hosts in all, by name."""
        data = super().clean() or self.cleaned_data
        if "hosts" in data:
            data["chosen"] = self._chosen(data)
            if not data["chosen"]:
                self.add_error("hosts", self._why_none(data))
        user, password = data.get("registry_user"), data.get("registry_password")
        if user and not password:
            self.add_error("registry_password", f"Expected the password of “{user}”, found nothing.")
        if password and not user:
            self.add_error("registry_user", "Expected the name that goes with the password, found nothing.")
        return data

    def _chosen(self, data: dict[str, Any]) -> list[Host]:
        """Of an environment, and of "all", only the hosts that are connected."""
        found = {host.pk: host for host in data["hosts"]}
        connected = self.permitted.filter(state=HostState.CONNECTED)
        if not data.get("everywhere"):
            connected = connected.filter(environment__in=data.get("environments") or [])
        found |= {host.pk: host for host in connected}
        return sorted(found.values(), key=lambda host: host.name)

    @staticmethod
    def _why_none(data: dict[str, Any]) -> str:
        if data.get("everywhere") or data.get("environments"):
            return "Expected at least one connected host there, found none."
        return "Expected at least one host, found none. Tick a host, an environment, or all."

    @property
    def login(self) -> dict[str, str] | None:
        """What the registry is told, or None."""
        user = self.cleaned_data["registry_user"]
        return {"username": user, "password": self.cleaned_data["registry_password"]} if user else None

    @property
    def has_login(self) -> bool:
        """Whether the fields for the registry have something to show."""
        fields = (self["registry_user"], self["registry_password"])
        return any(field.value() or field.errors for field in fields)


class RemoveForm(forms.Form):
    """`force`: also when stopped containers use it, or when it has other names."""

    force = forms.BooleanField(required=False, label="Also where only stopped containers use it")
