"""The form of an environment's rules."""

from __future__ import annotations

from typing import Any

from django import forms

from controlplane.lib.fields import ParsedField, WholeNumberField
from controlplane.lib.typed import Malformed, parse_memory
from hosts.rules.rules import Rules, lines, parse_capabilities, parse_images, parse_paths

BILLION = 1_000_000_000
SWITCHES = {
    "no_privileged": "No privileged containers",
    "own_namespaces": "No network, pid, ipc, uts or user namespace of the host",
    "plain_volumes": "Volumes without driver options, of the driver “local”",
    "no_devices": "No devices of the host",
    "confined": "Seccomp, AppArmor, labels and masked paths as the engine sets them",
    "safe_sysctls": "Only sysctls that are the container’s own",
    "plain_runtime": "The engine’s own runtime and control groups",
    "read_only_root": "A read-only root file system",
    "not_root": "A user other than root, by number",
}


def _switch(label: str) -> forms.BooleanField:
    return forms.BooleanField(required=False, label=label)


def parse_cpus(text: str) -> int:
    """Billionths; 0 when nothing was typed."""
    text = text.strip()
    try:
        found = float(text) if text else 0.0
    except ValueError:
        found = -1.0
    if not 0 <= found < 100_000 or (text and found < 0.01):
        raise Malformed(f"expected a number of CPUs such as 0.5 or 2, found “{text[:20]}”.")
    return round(found * BILLION)


class RulesForm(forms.Form):
    """`rules` is what it comes to, once it is valid."""

    images = ParsedField(parse_images, rows=4, placeholder="registry.example/shop/** : v*\nnginx : 1.*")
    for_bases = _switch("They hold for the base images of builds there as well")
    limit_binds = _switch("Folders of the host only below these paths")
    binds = ParsedField(parse_paths, rows=3, placeholder="/srv/shop")
    limit_capabilities = _switch("No capabilities may be added but these")
    capabilities = ParsedField(parse_capabilities, placeholder="NET_BIND_SERVICE CHOWN")
    memory = ParsedField(parse_memory, placeholder="2g")
    cpus = ParsedField(parse_cpus, placeholder="2")
    pids = WholeNumberField(1, 2**22, label="Processes")
    no_privileged = _switch(SWITCHES["no_privileged"])
    own_namespaces = _switch(SWITCHES["own_namespaces"])
    plain_volumes = _switch(SWITCHES["plain_volumes"])
    no_devices = _switch(SWITCHES["no_devices"])
    confined = _switch(SWITCHES["confined"])
    safe_sysctls = _switch(SWITCHES["safe_sysctls"])
    plain_runtime = _switch(SWITCHES["plain_runtime"])
    read_only_root = _switch(SWITCHES["read_only_root"])
    not_root = _switch(SWITCHES["not_root"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        for switch, name in (("limit_binds", "binds"), ("limit_capabilities", "capabilities")):
            if data.get(name) and not data.get(switch):
                self.add_error(name, f"Tick “{self.fields[switch].label}”, or leave this empty.")
        return data

    @property
    def rules(self) -> Rules:
        data = self.cleaned_data
        return Rules(
            images=data["images"],
            for_bases=data["for_bases"],
            binds=data["binds"] if data["limit_binds"] else None,
            capabilities=data["capabilities"] if data["limit_capabilities"] else None,
            memory=data["memory"],
            nano_cpus=data["cpus"],
            pids=data["pids"] or 0,
            **{name: data[name] for name in SWITCHES},
        )

    @property
    def switches(self) -> list[forms.BoundField]:
        return [self[name] for name in SWITCHES]


def initial(rules: Rules) -> dict[str, Any]:
    """What the form shows of rules that there are."""
    return {
        **{name: getattr(rules, name) for name in (*SWITCHES, "for_bases")},
        "images": lines(rules.images),
        "limit_binds": rules.binds is not None,
        "binds": lines(rules.binds or ()),
        "limit_capabilities": rules.capabilities is not None,
        "capabilities": " ".join(rules.capabilities or ()),
        "memory": str(rules.memory) if rules.memory else "",
        "cpus": f"{rules.nano_cpus / BILLION:g}" if rules.nano_cpus else "",
        "pids": rules.pids or "",
    }
