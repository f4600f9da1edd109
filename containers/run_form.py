"""The form that runs a container. What its fields may hold is said by `spec` and `ports`."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.urls import reverse

from containers import spec
from containers.forms import NAME
from containers.models import Container, ContainerState
from containers.ports import PortMapping, parse_ports
from controlplane.access.decide import Actor, visible
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.fields import ParsedField, WholeNumberField, as_form_error
from controlplane.lib.references import parse
from controlplane.lib.typed import Malformed, parse_memory
from hosts.models import Host

PATH = RegexValidator(r"\A/[^\0]*\Z", "Expected an absolute path inside the container, such as /srv/app.")
USER = RegexValidator(r"\A[\w.][\w.-]*(:[\w.][\w.-]*)?\Z", "Expected USER or USER:GROUP, each a name or a number.")
NETWORK = RegexValidator(
    r"\A(container:)?[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z",
    "Expected bridge, host, none, the name of a network, or container:NAME.",
)
# Networks that are not the container's own: nothing can be published there.
UNPUBLISHABLE = ("host", "none", "container:")


def parse_image(text: str) -> str:
    """A reference in its familiar form. Raises Malformed."""
    try:
        return parse(text.strip()).familiar
    except InvalidArgument as exc:
        raise Malformed(f"{exc.message} {exc.hint}".strip()) from exc


class HostField(forms.ModelChoiceField):
    """One host; the label says when it is out of contact."""

    def label_from_instance(self, host: Host) -> str:
        return host.name if host.is_connected else f"{host.name} ({host.get_state_display().lower()})"


class RunForm(forms.Form):
    """Everything the docker CLI's `run` takes that most people need. `actor`: whose hosts are offered.

    That a name or a port of the host is taken is told whoever has it, as the engine would tell: it is what was asked
    for, and cannot be had. Who has it is named only where that is seen.
    """

    host = HostField(
        queryset=Host.objects.none(),
        empty_label="Choose a host",
        error_messages={
            "required": "Expected a host, found none. Choose where it is to run.",
            "invalid_choice": "Expected one of the hosts, found one that is not there any more.",
        },
    )
    image = ParsedField(
        parse_image,
        placeholder="nginx:1.27",
        error_messages={"required": "Expected the name of an image, such as nginx:1.27, found nothing."},
    )
    name = forms.CharField(required=False, max_length=250, validators=[NAME])

    command = ParsedField(spec.parse_command, placeholder='sh -c "sleep 5 && date"')
    entrypoint = ParsedField(spec.parse_entrypoint)
    user = forms.CharField(required=False, max_length=120, validators=[USER])
    working_dir = forms.CharField(required=False, max_length=4000, validators=[PATH], label="Working directory")
    environment = ParsedField(spec.parse_environment, rows=4, placeholder="LOG_LEVEL=info\nTZ=Europe/Berlin")
    tty = forms.BooleanField(required=False, label="Give it a terminal (TTY) and keep its input open")

    network = forms.CharField(required=False, max_length=250, validators=[NETWORK])
    ports = ParsedField(parse_ports, rows=3, placeholder="8080:80\n127.0.0.1:5432:5432")
    volumes = ParsedField(spec.parse_volumes, rows=3, placeholder="data:/var/lib/data\n/etc/app:/etc/app:ro")

    restart = forms.ChoiceField(choices=[*spec.POLICIES.items()], label="Restart", initial="no", required=False)
    retries = WholeNumberField(0, 2**31 - 1, meaning="no end", label="Retries at most")
    memory = ParsedField(parse_memory, placeholder="512m")
    cpus = forms.CharField(required=False, max_length=40, label="CPUs")
    pids = WholeNumberField(1, 2**22, label="Processes at most")
    read_only = forms.BooleanField(required=False, label="Nothing can be written but in its volumes")
    auto_remove = forms.BooleanField(required=False, label="Remove it when it ends")
    labels = ParsedField(spec.parse_labels, rows=3, placeholder="team=shop\ntier=web")

    pull = forms.BooleanField(required=False, label="Pull it even when the host has it")
    registry_user = forms.CharField(required=False, max_length=250)
    registry_password = forms.CharField(
        required=False,
        max_length=4000,
        strip=False,
        # Kept when another field is wrong: the answer is not stored by any cache.
        widget=forms.PasswordInput(render_value=True, attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, actor: Actor, starts: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor, self.starts = actor, starts
        hosts = visible(actor, "container.create", Host.objects.exclude(public_key=""))
        self.fields["host"].queryset = hosts  # type: ignore[attr-defined]
        self.fields["image"].required = True
        for name in ("name", "user", "working_dir", "network", "cpus", "registry_user"):
            self.fields[name].widget.attrs |= {"class": "mono", "spellcheck": "false", "autocomplete": "off"}
        self.fields["cpus"].widget.attrs |= {"placeholder": "1.5", "inputmode": "decimal"}
        self.fields["network"].widget.attrs |= {"placeholder": "bridge", "list": "known-networks"}
        self.fields["image"].widget.attrs["list"] = "known-images"
        self.fields["host"].widget.attrs |= {
            "hx-get": reverse("containers:run"),
            "hx-target": "#known-images",
            "hx-trigger": "change",
            "hx-swap": "outerHTML",
        }

    def clean_host(self) -> Host:
        host: Host = self.cleaned_data["host"]
        if not host.is_connected:
            raise forms.ValidationError(
                f"Expected a connected host, found {host.name}, {host.get_state_display().lower()} since "
                f"{host.state_since:%d %b %H:%M} UTC. Choose another, or try again when it is back."
            )
        return host

    def clean(self) -> dict[str, Any]:
        """What concerns more than one field."""
        data = super().clean() or self.cleaned_data
        self._check_limits(data)
        self._check_restart(data)
        self._check_login(data)
        if data.get("ports") and (data.get("network") or "").startswith(UNPUBLISHABLE):
            self.add_error("ports", f"Nothing can be published with the network “{data['network']}”.")
        if host := data.get("host"):
            self._check_host(host, data)
        return data

    def _check_limits(self, data: dict[str, Any]) -> None:
        host = data.get("host")
        try:
            data["nano_cpus"] = spec.parse_cpus(data.get("cpus") or "", host.cpus if host else None)
        except Malformed as exc:
            self.add_error("cpus", as_form_error(exc))

    def _check_restart(self, data: dict[str, Any]) -> None:
        policy = data.get("restart") or "no"
        try:
            data["restart_policy"] = spec.restart_policy(policy, data.get("retries"))
        except Malformed as exc:
            self.add_error("retries", as_form_error(exc))
        if data.get("auto_remove") and policy != "no":
            self.add_error(
                "auto_remove",
                "A container is either restarted or removed when it ends: choose one of the two.",
            )

    def _check_login(self, data: dict[str, Any]) -> None:
        user, password = data.get("registry_user"), data.get("registry_password")
        if user and not password:
            self.add_error("registry_password", f"Expected the password of “{user}”, found nothing.")
        if password and not user:
            self.add_error("registry_user", "Expected the name that goes with the password, found nothing.")

    def _check_host(self, host: Host, data: dict[str, Any]) -> None:
        """What the mirror already knows to be taken there; the engine has the last word."""
        if (name := data.get("name")) and host.containers.filter(name=name).exists():
            self.add_error(
                "name",
                f"{host.name} has a container “{name}” already. Choose another name, or remove that one.",
            )
        if self.starts and data.get("ports"):
            for problem in _taken_ports(host, data["ports"], self.actor):
                self.add_error("ports", problem)

    def spec(self) -> spec.Spec:
        """The container, once the form is valid."""
        data = self.cleaned_data
        return spec.Spec(
            image=data["image"],
            command=data["command"],
            entrypoint=data["entrypoint"],
            environment=data["environment"],
            labels=data["labels"],
            ports=data["ports"],
            mounts=data["volumes"],
            restart=data["restart_policy"],
            memory=data["memory"],
            nano_cpus=data["nano_cpus"],
            pids=data["pids"] or 0,
            read_only=data["read_only"],
            user=data["user"],
            working_dir=data["working_dir"],
            network=data["network"],
            tty=data["tty"],
            auto_remove=data["auto_remove"],
        )

    @property
    def login(self) -> dict[str, str] | None:
        """What the registry is told, or None."""
        user = self.cleaned_data["registry_user"]
        return {"username": user, "password": self.cleaned_data["registry_password"]} if user else None

    @property
    def wrong(self) -> list[forms.BoundField]:
        """The fields that need another look, in the order of the form."""
        return [self[name] for name in self.fields if name in self.errors]

    @property
    def has_login(self) -> bool:
        """Whether the fields for the registry have something to show."""
        return self._shows("registry_user", "registry_password")

    @property
    def has_program_details(self) -> bool:
        """Whether the less usual fields of the program have something to show."""
        return self._shows("entrypoint", "user", "working_dir")

    def _shows(self, *names: str) -> bool:
        return any(self[name].value() or self[name].errors for name in names)


def _taken_ports(host: Host, wanted: list[PortMapping], actor: Actor) -> list[str]:
    """A message for each wanted port of the host that one of its running containers has."""
    running: QuerySet[Container] = host.containers.filter(
        state__in=[ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING]
    )
    taken: dict[tuple[str, str], list[tuple[str, str]]] = {}
    seen = set(visible(actor, "container.see", running).values_list("pk", flat=True))
    for pk, name, ports in running.values_list("pk", "name", "ports"):
        for port in ports:
            if port.get("host"):
                key = (str(port["host"]), str(port.get("protocol") or "tcp"))
                taken.setdefault(key, []).append((str(port.get("ip") or ""), name if pk in seen else ""))
    problems = []
    for port in wanted:
        holders = [name for ip, name in taken.get((port.host, port.protocol), []) if _meet(ip, port.ip)]
        if holders:
            by = next((f" by {name}" for name in holders if name), "")
            problems.append(f"Port {port.host}/{port.protocol} of {host.name} is taken{by}.")
    return problems


def _meet(one: str, other: str) -> bool:
    """Whether two addresses of the host overlap. A wildcard meets every address of its family, "" both."""
    if one == other or "" in (one, other):
        return True
    same_family = (":" in one) == (":" in other)
    return same_family and bool({"0.0.0.0", "::"} & {one, other})
