"""Rows of the request table on networks and volumes."""

from tests.contract.shapes import Maybe, an_id, one_of
from tests.contract.table import KINDLESS, Request, Row, older, podman


def named(key: str) -> object:
    """A list whose items carry this name."""
    return [{"Name": key}]


NETWORK: Request = ("POST", "/networks/create", {"Name": "{u}", "Labels": {"row": "{u}"}, "CheckDuplicate": True})
NO_NETWORK: Request = ("DELETE", "/networks/{u}", None)
VOLUME: Request = ("POST", "/volumes/create", {"Name": "{u}", "Labels": {"row": "{u}"}})
NO_VOLUME: Request = ("DELETE", "/volumes/{u}", None)
MEMBER: Request = (
    "POST",
    "/containers/create?name={u}-member",
    {"Image": "{image}", "HostConfig": {"NetworkMode": "{u}", "Binds": ["{u}:/data"]}, "Cmd": ["sleep", "1000"]},
)
NO_MEMBER: Request = ("DELETE", "/containers/{u}-member?force=true", None)
START_MEMBER: Request = ("POST", "/containers/{u}-member/start", None)

NETWORKS = [
    Row("make a network", *NETWORK[:2], 201, NETWORK[2], {"Id": an_id}, after=(NO_NETWORK,)),
    Row(
        "make a network twice",
        *NETWORK[:2],
        409,
        NETWORK[2],
        before=(NETWORK,),
        after=(NO_NETWORK,),
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "make a network without a name",
        "POST",
        "/networks/create",
        400,
        {"Name": ""},
        differs=older(500) | podman("It makes up a name.", 201, {"Id": an_id}),
    ),
    Row(
        "make a network named as a mode",
        "POST",
        "/networks/create",
        403,
        {"Name": "host"},
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "make a network of a driver it has not",
        "POST",
        "/networks/create",
        404,
        {"Name": "{u}", "Driver": "no-such"},
        after=(NO_NETWORK,),
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "make a network on a subnet that is none",
        "POST",
        "/networks/create",
        400,
        {"Name": "{u}", "IPAM": {"Config": [{"Subnet": "10.300.0.0/24"}]}},
        after=(NO_NETWORK,),
        differs=older(500) | podman(KINDLESS, 500),
    ),
    Row(
        "make a network of the wrong type",
        "POST",
        "/networks/create",
        400,
        {"Name": "{u}", "ConfigFrom": "other"},
        after=(NO_NETWORK,),
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "a network in detail",
        "GET",
        "/networks/{u}",
        200,
        shape={
            "Name": str,
            "Id": an_id,
            "Created": str,
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv6": False,
            "IPAM": {"Driver": one_of("default", "host-local"), "Config": [{"Subnet": str, "Gateway": str}]},
            "Internal": False,
            "Attachable": bool,
            "Containers": {},
            "Options": Maybe(dict),
            "Labels": {"row": str},
        },
        before=(NETWORK,),
        after=(NO_NETWORK,),
    ),
    Row("a network that is not there", "GET", "/networks/no-such", 404),
    Row(
        "one network by its name",
        "GET",
        '/networks?filters={{"name":["{u}"]}}',
        200,
        shape=lambda found: len(found) == 1,
        before=(NETWORK,),
        after=(NO_NETWORK,),
    ),
    Row(
        "one network by its label",
        "GET",
        '/networks?filters={{"label":["row={u}"]}}',
        200,
        shape=lambda found: len(found) == 1,
        before=(NETWORK,),
        after=(NO_NETWORK,),
    ),
    Row(
        "networks people made",
        "GET",
        '/networks?filters={{"type":["custom"],"driver":["bridge"],"name":["{u}"]}}',
        200,
        shape=lambda found: len(found) == 1,
        before=(NETWORK,),
        after=(NO_NETWORK,),
        differs=podman("Its compat API knows no filter by type.", 500),
    ),
    Row(
        "networks by a filter that is none",
        "GET",
        '/networks?filters={{"bogus":["a"]}}',
        400,
        differs=podman(KINDLESS, 500),
    ),
    Row("remove a network", "DELETE", "/networks/{u}", 204, before=(NETWORK,)),
    Row("remove a network that is not there", "DELETE", "/networks/no-such", 404),
    Row("remove the network of all", "DELETE", "/networks/bridge", 403, differs=podman(KINDLESS, 500)),
    Row(
        "remove a network in use",
        "DELETE",
        "/networks/{u}",
        403,
        before=(NETWORK, VOLUME, MEMBER, START_MEMBER),
        after=(NO_MEMBER, NO_NETWORK, NO_VOLUME),
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "connect",
        "POST",
        "/networks/{u}/connect",
        200,
        {"Container": "{c}", "EndpointConfig": {"Aliases": ["web"]}},
        given="running",
        before=(NETWORK,),
        after=(("POST", "/networks/{u}/disconnect", {"Container": "{c}", "Force": True}), NO_NETWORK),
    ),
    Row("connect to no network", "POST", "/networks/no-such/connect", 404, {"Container": "{c}"}, given="running"),
    Row(
        "connect none",
        "POST",
        "/networks/{u}/connect",
        404,
        {"Container": "no-such"},
        before=(NETWORK,),
        after=(NO_NETWORK,),
    ),
    Row(
        "disconnect",
        "POST",
        "/networks/{u}/disconnect",
        200,
        {"Container": "{c}"},
        given="running",
        before=(NETWORK, ("POST", "/networks/{u}/connect", {"Container": "{c}"})),
        after=(NO_NETWORK,),
    ),
    Row(
        "disconnect what is not connected",
        "POST",
        "/networks/{u}/disconnect",
        403,
        {"Container": "{c}"},
        given="running",
        before=(NETWORK,),
        after=(NO_NETWORK,),
        differs=older(500) | podman(KINDLESS, 500),
    ),
    Row(
        "prune networks",
        "POST",
        '/networks/prune?filters={{"label":["row={u}"]}}',
        200,
        shape=lambda found: len(found["NetworksDeleted"]) == 1,
        before=(NETWORK,),
        after=(NO_NETWORK,),
    ),
    Row(
        "create on a network that is not there",
        "POST",
        "/containers/create",
        201,
        {"Image": "{image}", "HostConfig": {"NetworkMode": "no-such"}},
        differs=podman("It looks at create, Docker at start.", 500),
    ),
    Row(
        "a container's place in its network",
        "GET",
        "/containers/{u}-member/json",
        200,
        shape=lambda found: all(
            each["IPAddress"] and each["Gateway"] and each["MacAddress"] and each["NetworkID"] and each["IPPrefixLen"]
            for each in found["NetworkSettings"]["Networks"].values()
        ),
        before=(NETWORK, VOLUME, MEMBER, START_MEMBER),
        after=(NO_MEMBER, NO_NETWORK, NO_VOLUME),
    ),
]

VOLUMES = [
    Row(
        "make a volume",
        *VOLUME[:2],
        201,
        VOLUME[2],
        {
            "Name": str,
            "Driver": "local",
            "Mountpoint": str,
            "CreatedAt": str,
            "Scope": "local",
            "Labels": {"row": str},
            "Options": Maybe(dict),
        },
        after=(NO_VOLUME,),
    ),
    Row("make a volume twice", *VOLUME[:2], 201, VOLUME[2], {"Name": str}, before=(VOLUME,), after=(NO_VOLUME,)),
    Row(
        "make a volume without a name",
        "POST",
        "/volumes/create",
        201,
        {"Labels": {"row": "{u}"}},
        {"Name": an_id},
        after=(("POST", '/v1.41/volumes/prune?filters={{"label":["row={u}"]}}', None),),
    ),
    Row(
        "make a volume under a bad name", "POST", "/volumes/create", 400, {"Name": "a b"}, differs=podman(KINDLESS, 500)
    ),
    Row(
        "make a volume of a driver it has not",
        "POST",
        "/volumes/create",
        404,
        {"Name": "{u}", "Driver": "no-such"},
        differs=podman(KINDLESS, 500),
    ),
    Row(
        "a volume in detail",
        "GET",
        "/volumes/{u}",
        200,
        shape={"Name": str, "Mountpoint": str, "Driver": "local"},
        before=(VOLUME,),
        after=(NO_VOLUME,),
    ),
    Row(
        "one volume by its name",
        "GET",
        '/volumes?filters={{"name":["{u}"]}}',
        200,
        shape=lambda found: len(found["Volumes"]) == 1,
        before=(VOLUME,),
        after=(NO_VOLUME,),
    ),
    Row(
        "one volume by its label",
        "GET",
        '/volumes?filters={{"label":["row={u}"]}}',
        200,
        shape=lambda found: len(found["Volumes"]) == 1,
        before=(VOLUME,),
        after=(NO_VOLUME,),
    ),
    Row(
        "a volume nobody uses",
        "GET",
        '/volumes?filters={{"dangling":["true"],"name":["{u}"]}}',
        200,
        shape=lambda found: len(found["Volumes"]) == 1,
        before=(VOLUME,),
        after=(NO_VOLUME,),
        differs=podman("It joins the filters of volumes by or.", 200),
    ),
    Row(
        "volumes by a filter that is none",
        "GET",
        '/volumes?filters={{"bogus":["a"]}}',
        400,
        differs=podman(KINDLESS, 500),
    ),
    Row("remove a volume", "DELETE", "/volumes/{u}", 204, before=(VOLUME,)),
    Row("remove a volume that is not there", "DELETE", "/volumes/no-such", 404),
    Row("remove by force a volume that is not there", "DELETE", "/volumes/no-such?force=true", 204),
    Row(
        "remove a volume in use",
        "DELETE",
        "/volumes/{u}",
        409,
        before=(NETWORK, VOLUME, MEMBER),
        after=(NO_MEMBER, NO_NETWORK, NO_VOLUME),
    ),
    Row(
        "remove by force a volume in use",
        "DELETE",
        "/volumes/{u}?force=true",
        409,
        before=(NETWORK, VOLUME, MEMBER),
        after=(NO_MEMBER, NO_NETWORK, NO_VOLUME),
    ),
    Row(
        "prune volumes",
        "POST",
        '/v1.41/volumes/prune?filters={{"label":["row={u}"]}}',
        200,
        shape={"VolumesDeleted": Maybe([str]), "SpaceReclaimed": int},
        before=(VOLUME,),
        after=(NO_VOLUME,),
    ),
    Row(
        "a container's volume",
        "GET",
        "/containers/{u}-member/json",
        200,
        shape={
            "Mounts": [
                {"Type": "volume", "Name": str, "Source": str, "Destination": "/data", "Driver": "local", "RW": True}
            ]
        },
        before=(NETWORK, VOLUME, MEMBER),
        after=(NO_MEMBER, NO_NETWORK, NO_VOLUME),
    ),
]

ROWS = [*NETWORKS, *VOLUMES]
