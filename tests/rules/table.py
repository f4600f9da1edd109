"""Each restriction with a request that breaks it, the field that is named, and one that keeps to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hosts.rules.facts import Facts, ImageFacts, Other, VolumeFacts
from hosts.rules.rules import Rules

MIB = 1024 * 1024
BILLION = 1_000_000_000


@dataclass(frozen=True)
class Row:
    """`broken` and `kept`: fields of a create request; HostConfig's alone without `whole`."""

    name: str
    rules: Rules
    broken: dict[str, Any]
    field: str
    kept: dict[str, Any]
    whole: bool = False

    def body(self, fields: dict[str, Any], image: str = "shop/web:dev-1") -> dict[str, Any]:
        return {"Image": image, **(fields if self.whole else {"HostConfig": fields})}


def _mount(**volume: Any) -> dict[str, Any]:
    return {"Mounts": [{"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": volume}}]}


BIND = {"type": "none", "o": "bind", "device": "/"}
NAMESPACES = Rules(own_namespaces=True)
SRV = Rules(binds=("/srv/shop",))
PLAIN = Rules(plain_volumes=True)
CONFINED = Rules(confined=True)
MEMORY, CPUS, PIDS = Rules(memory=64 * MIB), Rules(nano_cpus=BILLION), Rules(pids=100)

ROWS = [
    Row("privileged", Rules(no_privileged=True), {"Privileged": True}, "HostConfig.Privileged", {}),
    Row("host network", NAMESPACES, {"NetworkMode": "host"}, "HostConfig.NetworkMode", {"NetworkMode": "none"}),
    Row("host pid", NAMESPACES, {"PidMode": "host"}, "HostConfig.PidMode", {}),
    Row("host ipc", NAMESPACES, {"IpcMode": "host"}, "HostConfig.IpcMode", {"IpcMode": "private"}),
    Row("host uts", NAMESPACES, {"UTSMode": "host"}, "HostConfig.UTSMode", {}),
    Row("host users", NAMESPACES, {"UsernsMode": "host"}, "HostConfig.UsernsMode", {}),
    Row("bind", SRV, {"Binds": ["/etc:/x"]}, "HostConfig.Binds", {"Binds": ["shop-data:/x"]}),
    Row("bind of a sibling", SRV, {"Binds": ["/srv/shopping:/x:ro"]}, "HostConfig.Binds", {}),
    Row("bind upwards", SRV, {"Binds": ["/srv/shop/../../etc:/x"]}, "HostConfig.Binds", {}),
    Row("bind with slashes", SRV, {"Binds": ["//etc//shadow:/x"]}, "HostConfig.Binds", {}),
    Row(
        "bind mount",
        SRV,
        {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/x"}]},
        "HostConfig.Mounts[0].Source",
        {"Mounts": [{"Type": "tmpfs", "Target": "/x"}]},
    ),
    Row(
        "volume that binds",
        SRV,
        _mount(Name="local", Options=BIND),
        "HostConfig.Mounts[0].VolumeOptions.DriverConfig",
        _mount(Name="local"),
    ),
    Row(
        "volume that binds, by plain volumes",
        PLAIN,
        _mount(Options=BIND),
        "HostConfig.Mounts[0].VolumeOptions.DriverConfig",
        _mount(Options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}),
    ),
    Row("volume driver", PLAIN, {"VolumeDriver": "sshfs"}, "HostConfig.VolumeDriver", {}),
    Row("capability", Rules(capabilities=("CHOWN",)), {"CapAdd": ["SYS_ADMIN"]}, "HostConfig.CapAdd", {}),
    Row("all", Rules(capabilities=("CHOWN",)), {"CapAdd": ["all"]}, "HostConfig.CapAdd", {"CapAdd": ["cap_chown"]}),
    Row(
        "device",
        Rules(no_devices=True),
        {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]},
        "HostConfig.Devices",
        {"Devices": []},
    ),
    Row(
        "device rule", Rules(no_devices=True), {"DeviceCgroupRules": ["a *:* rwm"]}, "HostConfig.DeviceCgroupRules", {}
    ),
    Row("seccomp", CONFINED, {"SecurityOpt": ["seccomp=unconfined"]}, "HostConfig.SecurityOpt", {}),
    Row("seccomp, as of old", CONFINED, {"SecurityOpt": ["seccomp:unconfined"]}, "HostConfig.SecurityOpt", {}),
    Row("apparmor", CONFINED, {"SecurityOpt": ["apparmor=unconfined"]}, "HostConfig.SecurityOpt", {}),
    Row(
        "label",
        CONFINED,
        {"SecurityOpt": ["label=disable"]},
        "HostConfig.SecurityOpt",
        {"SecurityOpt": ["no-new-privileges"]},
    ),
    Row("system paths", CONFINED, {"MaskedPaths": [], "ReadonlyPaths": []}, "HostConfig.MaskedPaths", {}),
    Row(
        "sysctl",
        Rules(safe_sysctls=True),
        {"Sysctls": {"net.ipv4.ip_forward": "1"}},
        "HostConfig.Sysctls",
        {"Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}},
    ),
    Row("cgroup parent", Rules(plain_runtime=True), {"CgroupParent": "/mine"}, "HostConfig.CgroupParent", {}),
    Row("memory", MEMORY, {}, "HostConfig.Memory", {"Memory": 64 * MIB}),
    Row("more memory", MEMORY, {"Memory": 65 * MIB}, "HostConfig.Memory", {"Memory": 8 * MIB}),
    Row("swap", MEMORY, {"Memory": MIB * 8, "MemorySwap": -1}, "HostConfig.MemorySwap", {"Memory": 8 * MIB}),
    Row("cpus", CPUS, {}, "HostConfig.NanoCpus", {"NanoCpus": BILLION}),
    Row(
        "quota",
        CPUS,
        {"CpuQuota": 200_000},
        "HostConfig.NanoCpus",
        {"CpuQuota": 50_000, "CpuPeriod": 100_000},
    ),
    Row("pids", PIDS, {}, "HostConfig.PidsLimit", {"PidsLimit": 100}),
    Row("no end of pids", PIDS, {"PidsLimit": -1}, "HostConfig.PidsLimit", {"PidsLimit": 1}),
    Row(
        "writable root",
        Rules(read_only_root=True),
        {"ReadonlyRootfs": False},
        "HostConfig.ReadonlyRootfs",
        {"ReadonlyRootfs": True},
    ),
    Row("root by the image", Rules(not_root=True), {}, "User", {"User": "1000"}, whole=True),
    Row("root", Rules(not_root=True), {"User": "0:1000"}, "User", {"User": "1000:0"}, whole=True),
    Row("root by a name", Rules(not_root=True), {"User": "nobody"}, "User", {"User": "65534"}, whole=True),
]

FACTS = Facts(ImageFacts("docker.io/shop/web", "dev-1", frozenset(), ""), complete=True)
OTHERS = Facts(
    FACTS.image,
    others={
        "plain": Other(),
        "privileged": Other(privileged=True),
        "open": Other(open_to=frozenset({"network", "pid"})),
        "root": Other(mounts=(("bind", "/"),)),
        "tricky": Other(mounts=(("volume", "trick"),)),
    },
    volumes={"trick": VolumeFacts("local", BIND), "fine": VolumeFacts()},
    host_networks=frozenset({"host", "ab" * 32}),
    complete=True,
)
