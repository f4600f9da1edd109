"""The request table: what Gantry asks engines for, and what it relies on in their answers.

Every row is run against every engine. Docker Engine is right; where Podman differs, the row says how
and why it does not matter (or who makes up for it). A row's container is its own, in the state that
``given`` names, and stands in the path as ``{c}``; ``{image}`` is a busybox image the engine has; ``{u}`` is a name
nobody else uses, for what ``before`` makes and ``after`` takes away again. More rows stand in `rows_*.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.contract.shapes import Maybe, Shape, a_name, an_id, an_image_id, one_of

Request = tuple[str, str, Mapping[str, Any] | None]
"""Method, path, body."""


@dataclass(frozen=True)
class Differs:
    """How one engine departs from the row, and why we live with it."""

    why: str
    status: int | None = None
    shape: Shape = None
    kind_is_right: bool = False
    """Whether the client makes the right kind of error of it all the same."""


@dataclass(frozen=True)
class Row:
    """One request. ``given``: none, created, running, paused or exited."""

    what: str
    method: str
    path: str
    status: int
    body: Mapping[str, Any] | None = None
    shape: Shape = None
    given: str = ""
    before: tuple[Request, ...] = ()
    """Requests made first; they must succeed."""
    after: tuple[Request, ...] = ()
    """Requests made at the end, whatever came; their answers do not matter."""
    differs: Mapping[str, Differs] = field(default_factory=dict)


BARE_500 = "Its compat API answers 500 where Docker names the kind; Gantry takes the kind from its `cause`."
KINDLESS = "It answers 500 without a cause we could rely on; the message still says why."
NAMES_KIND = "Docker answers 500; the native engine names the kind, as Docker itself does in like cases."
ACCEPTS = "It accepts at create what cannot start; Gantry's forms check it before."


def podman(why: str, status: int | None = None, shape: Shape = None) -> dict[str, Differs]:
    """The row's ``differs`` for Podman alone."""
    return {"podman": Differs(why, status, shape, kind_is_right=why == BARE_500)}


def native(why: str, status: int) -> dict[str, Differs]:
    """The row's ``differs`` for Gantry's own engine: only where it is more exact than Docker."""
    return {"native": Differs(why, status)}


def older(status: int) -> dict[str, Differs]:
    """The row's ``differs`` for Docker 20.10, which later Docker Engines have put right."""
    return {"docker": Differs("Docker 20.10 does not name the kind; later ones answer as the row says.", status)}


IMAGE = {"Image": "{image}", "Cmd": ["sleep", "1000"]}
PORT = {"ExposedPorts": {"80/tcp": {}}}


def _create(**changes: Any) -> dict[str, Any]:
    return {**IMAGE, **changes}


SYSTEM = [
    Row("a ping", "GET", "/_ping", 200, shape=b"OK"),
    Row(
        "its version",
        "GET",
        "/version",
        200,
        shape={
            "Version": str,
            "ApiVersion": str,
            "Os": "linux",
            "Arch": str,
            "KernelVersion": str,
            "Components": [{"Name": str, "Version": str}],
        },
    ),
    Row(
        "what the host is",
        "GET",
        "/info",
        200,
        shape={
            "Name": str,
            "ServerVersion": str,
            "OperatingSystem": str,
            "OSType": "linux",
            "Architecture": str,
            "KernelVersion": str,
            "NCPU": int,
            "MemTotal": int,
            "DockerRootDir": str,
            "Containers": int,
            "Images": int,
        },
    ),
    Row("disk use", "GET", "/system/df", 200, shape={"Images": [dict], "Containers": [dict]}),
    Row("past events", "GET", "/events?since=1&until=2", 200),
    Row(
        "an unknown route",
        "GET",
        "/no-such-route",
        404,
        differs=podman("Its router answers in plain text; the client reads both."),
    ),
    Row("networks", "GET", "/networks", 200, shape=[{"Name": str, "Id": str, "Driver": str}]),
    Row("volumes", "GET", "/volumes", 200, shape={"Volumes": [{"Name": str, "Driver": str}]}),
    Row("a volume that is not there", "GET", "/volumes/no-such-volume", 404),
]

LISTED = {
    "Id": an_id,
    "Names": [a_name],
    "Image": str,
    "ImageID": an_image_id,
    "Command": str,
    "Created": int,
    "State": str,
    "Status": str,
    "Ports": [dict],
    "Labels": Maybe(dict),
    "Mounts": [dict],
    "NetworkSettings": {"Networks": Maybe(dict)},
}

INSPECTED = {
    "Id": an_id,
    "Name": a_name,
    "Created": str,
    "Image": an_image_id,
    "Path": str,
    "Args": [str],
    "RestartCount": int,
    "State": {
        "Status": str,
        "Running": bool,
        "Paused": bool,
        "Restarting": bool,
        "OOMKilled": bool,
        "Dead": bool,
        "Pid": int,
        "ExitCode": int,
        "StartedAt": str,
        "FinishedAt": str,
    },
    "Config": {"Image": str, "Env": [str], "Cmd": [str], "Labels": Maybe(dict), "Tty": bool, "Hostname": str},
    "HostConfig": {"RestartPolicy": {"Name": str}, "Memory": int, "NanoCpus": int, "PortBindings": Maybe(dict)},
    "NetworkSettings": {"Networks": dict},
    "Mounts": [dict],
}

LIST = [
    Row("all containers", "GET", "/containers/json?all=true", 200, shape=[LISTED], given="running"),
    Row(
        "a running one by its name",
        "GET",
        '/containers/json?filters={{"name":["{c}"]}}',
        200,
        shape=[{"State": "running"}],
        given="running",
    ),
    Row(
        "one by its state",
        "GET",
        '/containers/json?all=true&filters={{"status":["paused"]}}',
        200,
        shape=[{"State": "paused"}],
        given="paused",
    ),
    Row(
        "one by its label",
        "GET",
        '/containers/json?all=true&filters={{"label":["row={c}"]}}',
        200,
        shape=lambda found: len(found) == 1,
        given="created",
    ),
    Row("a container in detail", "GET", "/containers/{c}/json", 200, shape=INSPECTED, given="running"),
    Row(
        "one that ended, with its exit code",
        "GET",
        "/containers/{c}/json",
        200,
        shape={"State": {"Status": "exited", "Running": False, "ExitCode": one_of(137, 143)}},
        given="exited",
    ),
    Row("one that is not there", "GET", "/containers/no-such/json", 404),
    Row(
        "its processes",
        "GET",
        "/containers/{c}/top",
        200,
        shape={"Titles": [str], "Processes": [[str]]},
        given="running",
    ),
    Row(
        "its figures, once",
        "GET",
        "/containers/{c}/stats?stream=false",
        200,
        shape={"read": str, "cpu_stats": {"cpu_usage": {"total_usage": int}}, "memory_stats": dict},
        given="running",
    ),
    Row(
        "changes in its files",
        "GET",
        "/containers/{c}/changes",
        200,
        shape=Maybe([{"Path": str, "Kind": int}]),
        given="running",
    ),
    Row("its log", "GET", "/containers/{c}/logs?stdout=true&stderr=true", 200, given="running"),
    Row("its log without a stream", "GET", "/containers/{c}/logs", 400, given="running"),
    Row("the log of none", "GET", "/containers/no-such/logs?stdout=true", 404),
]

CREATE = [
    Row("create", "POST", "/containers/create", 201, _create(), {"Id": an_id, "Warnings": Maybe(list)}),
    Row(
        "create with everything of the form",
        "POST",
        "/containers/create",
        201,
        _create(
            Env=["A=b"],
            Labels={"team": "shop"},
            ExposedPorts={"80/tcp": {}},
            HostConfig={
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                "Binds": ["gantry-contract:/data:rw"],
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
                "Memory": 64 * 1024 * 1024,
                "NanoCpus": 500_000_000,
            },
        ),
        {"Id": an_id},
    ),
    Row("create from an image it has not", "POST", "/containers/create", 404, _create(Image="gantry/none:1")),
    Row(
        "create from a bad reference",
        "POST",
        "/containers/create",
        400,
        _create(Image="UPPER/case:1"),
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "create under a bad name",
        "POST",
        "/containers/create?name=a+b",
        400,
        _create(),
        differs=podman(BARE_500, 500),
    ),
    Row(
        "create under a name in use",
        "POST",
        "/containers/create?name={c}",
        409,
        _create(),
        given="created",
        differs=podman(BARE_500, 500),
    ),
    Row(
        "create with a port that is none",
        "POST",
        "/containers/create",
        400,
        _create(HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "abc"}]}}, **PORT),
        differs=podman(BARE_500, 500),
    ),
    Row(
        "create with a port that cannot be",
        "POST",
        "/containers/create",
        400,
        _create(HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}, **PORT),
        differs=podman(ACCEPTS, 201, {"Id": an_id}),
    ),
    Row(
        "create with a negative memory limit",
        "POST",
        "/containers/create",
        400,
        _create(HostConfig={"Memory": -5}),
        differs=podman(ACCEPTS, 201, {"Id": an_id}),
    ),
    Row(
        "create with a negative CPU limit",
        "POST",
        "/containers/create",
        400,
        _create(HostConfig={"NanoCpus": -1}),
        differs=podman(ACCEPTS, 201, {"Id": an_id}),
    ),
    Row(
        "create with an unknown restart policy",
        "POST",
        "/containers/create",
        400,
        _create(HostConfig={"RestartPolicy": {"Name": "sometimes"}}),
        differs=podman(BARE_500, 500),
    ),
    Row(
        "create with a relative path",
        "POST",
        "/containers/create",
        500,
        _create(HostConfig={"Binds": ["data:rel"]}),
        differs=native(NAMES_KIND, 400),
    ),
    Row(
        "create with a bad variable",
        "POST",
        "/containers/create",
        400,
        _create(Env=["=x"]),
        differs=podman(KINDLESS, 500),
    ),
]

LIFECYCLE = [
    Row("start", "POST", "/containers/{c}/start", 204, given="created"),
    Row("start what runs", "POST", "/containers/{c}/start", 304, given="running"),
    Row("start what ended", "POST", "/containers/{c}/start", 204, given="exited"),
    Row("start none", "POST", "/containers/no-such/start", 404),
    Row("stop", "POST", "/containers/{c}/stop?t=0", 204, given="running"),
    Row("stop what ended", "POST", "/containers/{c}/stop?t=0", 304, given="exited"),
    Row("stop none", "POST", "/containers/no-such/stop", 404),
    Row("restart", "POST", "/containers/{c}/restart?t=0", 204, given="running"),
    Row("restart what ended", "POST", "/containers/{c}/restart?t=0", 204, given="exited"),
    Row("kill", "POST", "/containers/{c}/kill?signal=KILL", 204, given="running"),
    Row("kill what ended", "POST", "/containers/{c}/kill", 409, given="exited", differs=podman(BARE_500, 500)),
    Row(
        "kill by no signal",
        "POST",
        "/containers/{c}/kill?signal=NOPE",
        400,
        given="running",
        differs=podman(KINDLESS, 500),
    ),
    Row("pause", "POST", "/containers/{c}/pause", 204, given="running"),
    Row("pause what is paused", "POST", "/containers/{c}/pause", 409, given="paused", differs=podman(BARE_500, 500)),
    Row("pause what ended", "POST", "/containers/{c}/pause", 409, given="exited", differs=podman(BARE_500, 500)),
    Row("unpause", "POST", "/containers/{c}/unpause", 204, given="paused"),
    Row(
        "unpause what runs",
        "POST",
        "/containers/{c}/unpause",
        500,
        given="running",
        differs=native(NAMES_KIND, 409),
    ),
    Row("rename", "POST", "/containers/{c}/rename?name={c}-new", 204, given="running"),
    Row(
        "rename to its own kind of nonsense",
        "POST",
        "/containers/{c}/rename?name=a+b",
        400,
        given="created",
        differs=podman(BARE_500, 500),
    ),
    Row("rename none", "POST", "/containers/no-such/rename?name=x-new", 404),
    Row("wait for what ended", "POST", "/containers/{c}/wait", 200, shape={"StatusCode": int}, given="exited"),
    Row("remove", "DELETE", "/containers/{c}", 204, given="exited"),
    Row("remove what never ran", "DELETE", "/containers/{c}", 204, given="created"),
    Row("remove what runs", "DELETE", "/containers/{c}", 409, given="running", differs=podman(BARE_500, 500)),
    Row("remove what runs by force", "DELETE", "/containers/{c}?force=true&v=true", 204, given="running"),
    Row("remove none", "DELETE", "/containers/no-such", 404),
    Row(
        "set other limits",
        "POST",
        "/containers/{c}/update",
        200,
        {"Memory": 64 * 1024 * 1024, "MemorySwap": 64 * 1024 * 1024},
        given="running",
        differs=podman("Podman 4.3 has no such route in its compat API.", 404),
    ),
]

EXEC = [
    Row("exec", "POST", "/containers/{c}/exec", 201, {"Cmd": ["true"]}, {"Id": an_id}, given="running"),
    Row(
        "exec in what ended",
        "POST",
        "/containers/{c}/exec",
        409,
        {"Cmd": ["true"]},
        given="exited",
        differs=podman(BARE_500, 500),
    ),
    Row("exec in what is paused", "POST", "/containers/{c}/exec", 409, {"Cmd": ["true"]}, given="paused"),
    Row("exec in none", "POST", "/containers/no-such/exec", 404, {"Cmd": ["true"]}),
    Row("start no exec", "POST", "/exec/no-such/start", 404, {"Detach": False}),
    Row("look at no exec", "GET", "/exec/no-such/json", 404),
    Row("resize", "POST", "/containers/{c}/resize?h=40&w=120", 200, given="running"),
    Row("copy out", "GET", "/containers/{c}/archive?path=/etc/passwd", 200, given="running"),
    Row("copy out nothing", "GET", "/containers/{c}/archive?path=/no-such", 404, given="running"),
]

IMAGES = [
    Row(
        "images",
        "GET",
        "/images/json",
        200,
        shape=[
            {
                "Id": an_image_id,
                "RepoTags": Maybe([str]),
                "RepoDigests": Maybe([str]),
                "Created": int,
                "Size": int,
                "Labels": Maybe(dict),
            }
        ],
    ),
    Row(
        "an image",
        "GET",
        "/images/{image}/json",
        200,
        shape={
            "Id": an_image_id,
            "RepoTags": [str],
            "Architecture": str,
            "Os": "linux",
            "Size": int,
            "Config": dict,
            "RootFS": {"Layers": [an_image_id]},
        },
    ),
    Row("an image it has not", "GET", "/images/gantry/none:1/json", 404),
    Row("its history", "GET", "/images/{image}/history", 200, shape=[{"Id": str, "CreatedBy": str, "Size": int}]),
    Row("tag", "POST", "/images/{image}/tag?repo=gantry/contract&tag=two", 201),
    Row("untag", "DELETE", "/images/gantry/contract:two", 200, shape=[dict]),
    Row("remove an image it has not", "DELETE", "/images/gantry/none:1", 404),
    Row("remove an image in use", "DELETE", "/images/{image}", 409, given="created"),
    Row(
        "remove by a bad reference",
        "DELETE",
        "/images/UPPER:1",
        400,
        differs=podman(KINDLESS, 500),
    ),
]

TABLE = [*SYSTEM, *LIST, *CREATE, *LIFECYCLE, *EXEC, *IMAGES]
