"""Two tenants in one Gantry: a developer's own things, what lies beside them on the same host, and another's.

Everything the developer may not see carries `CANARY` in each of its texts, and a size that nothing else has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.utils import timezone

from containers.models import Container, Recording
from controlplane.access.models import Grant, Role, Standing, User
from controlplane.access.naming import cover_again, intern_one
from controlplane.access.roles import ALL_VERBS, BUILT_IN, STANDING, WHOLE_VERBS
from controlplane.operations.models import Operation, OperationOutput, State
from hosts.models import Environment, Host, HostState
from images.builds.asked import Options, Source
from images.builds.models import Build, Credential, Definition, Upload
from images.models import Image, ImageTag
from tests.security.fleet import UNUSABLE, Fleet, make

CANARY = "zqcanary"
CANARY_SIZE, CANARY_WORDS = 987_654_321_098, "988 GB"
OWN, BESIDE, FOREIGN = "own", "beside", "foreign"
PEOPLE = ("anonymous", "viewer", "developer", "operator", "steward", "administrator")
DIGEST = "1" * 64


@dataclass
class Tenants:
    """`own` and `beside` lie in Staging, on one host; `foreign` elsewhere. What is beside has no host of its own."""

    developer: User  # of shop/*:dev-* in Staging
    operator: User  # of all of the other environment
    steward: User  # may do everything in Staging, and nothing elsewhere
    fleets: dict[str, Fleet]
    extra: list[str]  # further pages of the developer's
    unseen: list[str]  # and such as they must not find

    @property
    def own(self) -> Fleet:
        return self.fleets[OWN]

    @property
    def beside(self) -> Fleet:
        return self.fleets[BESIDE]

    @property
    def foreign(self) -> Fleet:
        return self.fleets[FOREIGN]

    def person(self, name: str) -> User | None:
        people = {"viewer": self.foreign.viewer, "administrator": self.foreign.administrator}
        return (people | {"developer": self.developer, "operator": self.operator, "steward": self.steward}).get(name)


HELD = {
    "anonymous": frozenset[str](),
    "viewer": STANDING[Standing.VIEWER],
    "developer": BUILT_IN["developer"][2] - WHOLE_VERBS,
    "operator": BUILT_IN["operator"][2],
    "steward": ALL_VERBS,
    "administrator": ALL_VERBS,
}


def reaches(person: str, verb: str, where: str, row: str) -> bool:
    """What the grants say, in words: whether `person` may do `verb` to the `row` (a field of Fleet) that is `where`."""
    if verb not in HELD[person]:
        return False
    if person in ("viewer", "administrator"):
        return True
    if row in ("viewer", "invitation", "team", "role"):  # these are in no environment
        return True
    if row == "entry":  # the trail is of everything
        return False
    if row in ("credential", "grant", "recording"):  # there is one, of the other environment
        where = FOREIGN
    if row in ("host", "environment"):  # of a host, a grant over some of its images reaches all
        return (where == FOREIGN) == (person == "operator")
    return where in {"developer": {OWN}, "steward": {OWN, BESIDE}, "operator": {FOREIGN}}[person]


def make_tenants() -> Tenants:
    foreign = _foreign()
    developer = User.objects.create(username="dev", password=UNUSABLE, standing=Standing.MEMBER)
    operator = User.objects.create(username="ops", password=UNUSABLE, standing=Standing.MEMBER)
    staging = _environments(foreign)
    give(developer, "developer", staging, ["shop/*"], ["dev-*"])
    give(operator, "operator", foreign.environment)
    steward = User.objects.create(username="stu", password=UNUSABLE, standing=Standing.MEMBER)
    give(steward, "administrator", staging)
    own, beside, extra, unseen = _staging(foreign, developer, staging)
    return Tenants(developer, operator, steward, {OWN: own, BESIDE: beside, FOREIGN: foreign}, extra, unseen)


def _environments(foreign: Fleet) -> Environment:
    """Staging; the others that a new installation has get a canary's name too."""
    staging, _ = Environment.objects.get_or_create(slug="staging", defaults={"name": "Staging"})
    for each in Environment.objects.exclude(pk__in=[staging.pk, foreign.environment.pk]):
        Environment.objects.filter(pk=each.pk).update(name=f"{CANARY} {each.pk}", slug=f"{CANARY}-{each.pk}")
    return staging


def give(
    user: User,
    role: str,
    environment: Environment | None,
    repositories: list[str] | None = None,
    tags: list[str] | None = None,
) -> Grant:
    """A grant; in every environment when none is given."""
    grant = Grant.objects.create(
        user=user,
        role=_role(role),
        every_environment=environment is None,
        repositories=repositories or ["**"],
        tags=tags or ["*"],
    )
    grant.environments.set([environment] if environment else [])
    cover_again(grant)
    return grant


def _role(slug: str) -> Role:
    """A built-in one; a test that empties its tables loses what a migration made."""
    name, description, verbs = BUILT_IN[slug]
    made = {"name": name, "description": description, "verbs": sorted(verbs), "built_in": True}
    return Role.objects.get_or_create(slug=slug, defaults=made)[0]


def _foreign() -> Fleet:
    """Another environment, with the name of everything in it a canary."""
    foreign = make(CANARY)
    name = intern_one(CANARY)
    Image.objects.update(size=CANARY_SIZE)
    for model in (Container, ImageTag, Operation, Recording):
        model._default_manager.update(image_name=name)
    Definition.objects.update(image_name=name, host=foreign.host)
    Credential.objects.update(environment=foreign.environment)
    Build.objects.update(size=CANARY_SIZE, tags=[CANARY])
    Host.objects.update(labels={CANARY: CANARY, "builder": CANARY})
    for row in (foreign.container, foreign.tag, foreign.operation, foreign.definition, foreign.build, foreign.host):
        row.refresh_from_db()
    foreign.build.operation = foreign.operation
    foreign.tag.image = Image.objects.get()
    return foreign


def _staging(foreign: Fleet, developer: User, staging: Environment) -> tuple[Fleet, Fleet, list[str], list[str]]:
    """One host with the developer's things and, in every relation to them, what they may not see."""
    host = Host.objects.create(
        name="st-1",
        environment=staging,
        public_key="s",
        state=HostState.CONNECTED,
        tunnel_up=True,
        engine_kind="docker",
        labels={"rack": "r1"},
        last_seen_at=timezone.now(),
    )
    image = Image.objects.create(
        host=host,
        engine_id=f"sha256:{DIGEST}",
        size=1000,
        repo_digests=[f"{CANARY}/x@sha256:{'2' * 64}", f"shop/web@sha256:{DIGEST}"],
    )
    hidden = Image.objects.create(
        host=host, engine_id="sha256:" + "b" * 64, size=CANARY_SIZE, repo_digests=[CANARY], labels={CANARY: CANARY}
    )
    mine, theirs = intern_one("shop/web:dev-1"), intern_one(f"{CANARY}/x:v1")
    tag = ImageTag.objects.create(
        host=host, image=image, reference="shop/web:dev-1", repository="shop/web", tag="dev-1", image_name_id=mine
    )
    for each in (image, hidden):  # the developer's own image has a second name
        of = {"host": host, "image": each, "image_name_id": theirs, "tag": "v1"}
        other = ImageTag.objects.create(reference=f"{CANARY}/x{each.pk}:v1", repository=f"{CANARY}/x{each.pk}", **of)
    container = Container.objects.create(
        host=host,
        engine_id="d" * 64,
        name="web-own",
        image_ref="shop/web:dev-1",
        image_name_id=mine,
        image_id=image.engine_id,
        state="running",
        created_at=timezone.now(),
    )
    neighbours = [_hidden_container(host, image.engine_id, theirs, n) for n in range(3)]
    operations = _operations(foreign, developer, host, container, neighbours[0], mine, theirs)
    definition, other_definition = _definitions(foreign, developer, host, theirs)
    build, hidden_build = _builds(foreign, developer, host, definition, mine, theirs)
    upload = Upload.objects.create(name="files", owner=developer, size=1, files=1, finished_at=timezone.now())
    own = replace(
        foreign,
        environment=staging,
        host=host,
        container=container,
        tag=tag,
        operation=operations["own"],
        build=build,
        definition=definition,
        upload=upload,
    )
    beside = replace(
        own,
        container=neighbours[0],
        tag=other,
        operation=operations["beside"],
        build=hidden_build,
        definition=other_definition,
        upload=foreign.upload,
    )
    extra = [f"/operations/{operations['waiting'].pk}/", f"/builds/{build.operation_id}/compare/"]
    extra += [f"/builds/new/?like={build.operation_id}", f"/builds/definitions/new/?like={build.operation_id}"]
    unseen = [
        f"/operations/{operations['parent'].pk}/",
        f"/builds/{build.operation_id}/compare/?with={hidden_build.operation_id}",
    ]
    unseen += [f"/builds/new/?like={hidden_build.operation_id}"]
    return own, beside, extra, unseen


def _hidden_container(host: Host, image_id: str, name: int | None, number: int) -> Container:
    return Container.objects.create(
        host=host,
        engine_id=f"{number}" * 64,
        name=f"{CANARY}-{number}",
        image_ref=f"{CANARY}/x:v1",
        image_name_id=name,
        image_id=image_id,
        command=CANARY,
        state="running",
        labels={CANARY: CANARY},
        labels_text=f"\n{CANARY}={CANARY}\n",
        networks=[CANARY],
        ports=[{"ip": "", "host": 8080, "container": 80, "protocol": "tcp"}],
        created_at=timezone.now(),
    )


def _operation(actor: User, host: Host | None, name: int | None, text: str, **more: Any) -> Operation:
    row: dict[str, Any] = {
        "kind": "container.stop",
        "title": f"Stop {text}",
        "state": State.FAILED,
        "actor": actor,
        "actor_name": text,
        "host": host,
        "host_name": host.name if host else "",
        "target_kind": "container",
        "target_name": text,
        "image_name_id": name,
        "error": text,
        "hint": text,
        "progress": {text: {"status": text, "current": 1, "total": 2}},
        "started_at": timezone.now(),
    }
    made = Operation.objects.create(**row | more)
    OperationOutput.objects.create(operation=made, seq=1, stream="stderr", text=text)
    return made


def _operations(
    foreign: Fleet,
    developer: User,
    host: Host,
    container: Container,
    neighbour: Container,
    mine: int | None,
    theirs: int | None,
) -> dict[str, Operation]:
    """A bulk action of an administrator on both; one that waits for another's; a retry."""
    ada = foreign.administrator
    parent = _operation(ada, None, None, CANARY, kind="bulk", target_kind="", title=f"Stop 2 {CANARY}")
    of = {"target_id": container.engine_id, "parent": parent}
    own = _operation(ada, host, mine, "web-own", finished_at=timezone.now(), **of)
    beside = _operation(ada, host, theirs, CANARY, target_id=neighbour.engine_id, parent=parent)
    running = {"state": State.RUNNING, "lane": "image:shared"}
    _operation(ada, host, theirs, CANARY, kind="image.pull", target_kind="image", **running)
    _operation(ada, host, theirs, CANARY, kind="image.pull", target_kind="image", retry_of=own)
    queued = {"state": State.QUEUED, "lane": "image:shared", "started_at": None, "error": ""}
    waiting = _operation(developer, host, mine, "web-own", kind="image.pull", target_kind="image", **queued)
    return {"own": own, "beside": beside, "waiting": waiting, "parent": parent}


def _definitions(foreign: Fleet, developer: User, host: Host, theirs: int | None) -> tuple[Definition, Definition]:
    own = Definition.objects.create(
        name="shop-web",
        slug="shop-web",
        source=Source("typed", dockerfile="FROM scratch").as_json(),
        options=Options(host=host.pk, tags=["shop/web:dev-2"]).as_json(),
        owner=developer,
        host=host,
        image_name_id=intern_one("shop/web:dev-2"),
    )
    source = Source("git", url=f"https://{CANARY}.example/x.git", ref=CANARY, folder=CANARY).as_json()
    other = Definition.objects.create(
        name=f"{CANARY}-2",
        slug=f"{CANARY}-2",
        source=source,
        options=Options(host=host.pk, tags=[f"{CANARY}/x:v1"], secrets=[CANARY]).as_json(),
        owner=foreign.administrator,
        image_name_id=theirs,
        host=host,
        refused_why=CANARY,
    )
    return own, other


def _builds(
    foreign: Fleet, developer: User, host: Host, definition: Definition, mine: int | None, theirs: int | None
) -> tuple[Build, Build]:
    """The developer's build, and before it, of the same definition and repository, one under another name."""
    of = {"kind": "image.build", "target_kind": "build", "state": State.SUCCEEDED, "finished_at": timezone.now()}
    image = {"image_id": f"sha256:{DIGEST}", "definition": definition}
    hidden = Build.objects.create(
        operation=_operation(foreign.administrator, host, theirs, CANARY, **of),
        number=1,
        source=Source("git", url=CANARY, ref=CANARY).as_json(),
        options=Options(host=host.pk, tags=[f"{CANARY}/x:v1"], args={CANARY: CANARY}).as_json(),
        dockerfile=f"FROM {CANARY}\n",
        commit=CANARY,
        tags=[f"{CANARY}/x:v1", "shop/web:v1"],
        size=CANARY_SIZE,
        layers=[{"created_by": CANARY, "size": CANARY_SIZE}],
        **image,
    )
    own = Build.objects.create(
        operation=_operation(developer, host, mine, "shop/web:dev-1", **of | {"error": "", "hint": ""}),
        number=2,
        source=Source("typed", dockerfile="FROM scratch").as_json(),
        options=Options(host=host.pk, tags=["shop/web:dev-1"]).as_json(),
        dockerfile="FROM scratch\n",
        tags=["shop/web:dev-1"],
        size=1000,
        **image,
    )
    push = {"kind": "image.push", "target_kind": "image", "params": {"build": own.operation_id}}
    _operation(foreign.administrator, host, theirs, CANARY, **push)
    return own, hidden
