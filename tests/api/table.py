"""Every operation of the API and what it takes. One that is not in the table fails `test_permissions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.utils import timezone

from containers.models import Container, Ending, Recording
from controlplane.access.models import BrowserSession, Grant, Invitation, Role, Standing, Team, Token, User
from controlplane.access.naming import intern_one
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry, Operation, OperationOutput, State
from hosts.models import Environment, Host, HostState
from images.builds import uploading
from images.builds.asked import Options, Source
from images.builds.models import Build, Credential, Definition, Upload
from images.models import Image, ImageTag
from tests.api.conftest import UNUSABLE, issue

ANYBODY = "anybody"  # with a token: each sees there what they may see
REFERENCE = "shop/web:dev-1"
TAR = 10240  # bytes of an empty one


@dataclass
class World:
    """One row of everything in one environment, with the names a path and a body need."""

    environment: Environment
    host: Host
    container: Container
    tag: ImageTag
    operation: Operation
    build: Build
    definition: Definition
    person: User
    service: User
    token: Token
    invitation: Invitation
    team: Team  # the person is in it
    role: Role  # nobody has it
    grant: Grant
    credential: Credential
    upload: Upload
    recording: Recording
    session: BrowserSession
    entry: AuditEntry

    def pk(self, kind: str) -> str:
        if kind == "definition":
            return self.definition.slug
        if kind == "credential":
            return self.credential.name
        if kind == "entry":
            return str(self.entry.seq)
        return str(self.build.operation_id if kind == "build" else getattr(self, kind).pk)


Bodies = Callable[[World], Any]


@dataclass(frozen=True)
class Rule:
    """`verb`: what it takes. `kind`: the row its path names, "" for none; what `body` names is then foreign too.
    `hidden`: it is there for nobody who lacks the verb (404 instead of 403). `own`: for nobody but whose own it is."""

    verb: str
    kind: str = ""
    body: Bodies | None = None
    verbs: frozenset[str] = field(default_factory=frozenset)
    hidden: bool = False
    own: bool = False


def _run(world: World) -> Any:
    return {"host": world.host.pk, "image": REFERENCE, "name": "fresh"}


def _ids(world: World) -> Any:
    return {"ids": [world.container.pk]}


def _build(world: World) -> Any:
    return {"host": world.host.pk, "dockerfile": "FROM scratch\n", "tags": [REFERENCE]}


def _definition(world: World) -> Any:
    return {**_build(world), "name": "Another"}


def _key(world: World) -> Any:
    return {"images": [f"{world.host.pk}|{world.tag.image.engine_id}|{world.tag.reference}"]}


def _grant(world: World) -> Any:
    return {"user": world.person.username, **_terms(world)}


def _terms(world: World) -> Any:
    return {"role": "viewer", "environments": [world.environment.slug], "repositories": ["shop/*"]}


def _question(world: World) -> Any:
    return {"user": world.person.username, "verb": "container.exec", "kind": "container", "object": world.container.pk}


def _credential(world: World) -> Any:
    return {"name": "fresh", "kind": "secret", "secret": "x"}


TABLE: dict[str, Rule] = {
    "me": Rule(ANYBODY),
    "change_me": Rule(ANYBODY, body=lambda w: {"first_name": "Ada"}),
    "list_my_sessions": Rule(ANYBODY),
    "end_my_sessions": Rule(ANYBODY),
    "end_my_session": Rule(ANYBODY, "session", own=True),
    "get_overview": Rule(ANYBODY),
    "list_hosts": Rule("host.see"),
    "add_host": Rule("host.manage", body=lambda w: {"name": "fresh"}),
    "get_host": Rule("host.see", "host"),
    "change_host": Rule("host.manage", "host", lambda w: {"labels": {"rack": "b3"}}),
    "remove_host": Rule("host.manage", "host"),
    "renew_enrolment": Rule("host.manage", "host"),
    "rotate_key": Rule("host.manage", "host"),
    "list_environments": Rule("host.see"),
    "add_environment": Rule("host.manage", body=lambda w: {"name": "Fresh"}),
    "remove_environment": Rule("host.manage", "environment"),
    "get_rules": Rule("rules.manage", "environment"),
    "change_rules": Rule("rules.manage", "environment", lambda w: {"no_privileged": True}),
    "preview_rules": Rule("rules.manage", "environment", lambda w: {"no_privileged": True}),
    "list_containers": Rule("container.see"),
    "run_container": Rule("container.create", body=_run),
    "do_to_containers": Rule("container.stop", body=_ids),
    "get_container": Rule("container.see", "container"),
    "remove_container": Rule("container.remove", "container"),
    "inspect_container": Rule("container.see", "container"),
    "reveal_container": Rule("container.secrets", "container"),
    "get_logs": Rule("container.logs", "container"),
    "download_logs": Rule("container.logs", "container"),
    "rename_container": Rule("container.update", "container", lambda w: {"name": "other"}),
    "update_container": Rule("container.update", "container", lambda w: {"memory": "64m"}),
    "commit_container": Rule("container.files", "container", lambda w: {"reference": "shop/web:dev-2"}),
    "duplicate_container": Rule("container.create", "container"),
    "do_to_container": Rule("container.stop", "container"),
    "list_images": Rule("image.see"),
    "pull_image": Rule("image.pull", body=lambda w: {"reference": REFERENCE, "hosts": [w.host.pk]}),
    "remove_images": Rule("image.delete", body=_key),
    "list_builds": Rule("image.see"),
    "start_build": Rule("image.build", body=_build),
    "get_build": Rule("image.see", "build"),
    "get_build_output": Rule("operation.see", "build"),
    "get_build_choices": Rule("image.build"),
    "lint_dockerfile": Rule("image.build", body=lambda w: {"dockerfile": "FROM scratch\n"}),
    "compare_builds": Rule("image.see", "build"),
    "begin_upload": Rule("image.build", body=lambda w: {"name": "shop"}),
    "get_upload": Rule("image.build", "upload", own=True),
    "send_piece": Rule("image.build", "upload", lambda w: bytes(512), own=True),
    "finish_upload": Rule("image.build", "upload", lambda w: {"size": TAR}, own=True),
    "drop_upload": Rule("image.build", "upload", own=True),
    "list_credentials": Rule("registry.manage"),
    "add_credential": Rule("registry.manage", body=_credential),
    "get_credential": Rule("registry.manage", "credential"),
    "change_credential": Rule("registry.manage", "credential", lambda w: {"secret": "another"}),
    "delete_credential": Rule("registry.manage", "credential"),
    "list_recordings": Rule("recording.see"),
    "get_recording": Rule("recording.see", "recording"),
    "get_cast": Rule("recording.see", "recording"),
    "remove_recording": Rule("recording.remove", "recording"),
    "rebuild": Rule("image.build", "build"),
    "push_build": Rule("image.push", "build"),
    "list_definitions": Rule("image.see"),
    "add_definition": Rule("image.build", body=_definition),
    "get_definition": Rule("image.see", "definition"),
    "change_definition": Rule("image.build", "definition", _definition),
    "delete_definition": Rule("image.build", "definition"),
    "build_definition": Rule("image.build", "definition"),
    "renew_webhook": Rule("image.build", "definition", lambda w: {"on": True}),
    "list_operations": Rule("operation.see"),
    "get_operation": Rule("operation.see", "operation"),
    "list_children": Rule("operation.see", "operation"),
    "get_output": Rule("operation.see", "operation"),
    "cancel_operation": Rule("operation.cancel", "operation"),
    "retry_operation": Rule("container.stop", "operation"),  # that of the kind
    "list_audit": Rule("audit.see"),
    "export_audit": Rule("audit.see"),
    "get_audit_entry": Rule("audit.see", "entry"),
    "list_people": Rule("access.manage"),
    "get_person": Rule("access.manage", "person"),
    "end_sessions": Rule("access.manage", "person"),
    "forget_second_factors": Rule("access.manage", "person"),
    "change_person": Rule("access.manage", "person", lambda w: {"standing": "viewer", "is_active": True}),
    "list_teams": Rule("access.manage"),
    "add_team": Rule("access.manage", body=lambda w: {"name": "Fresh"}),
    "get_team": Rule("access.manage", "team"),
    "change_team": Rule("access.manage", "team", lambda w: {"name": "Fresh"}),
    "remove_team": Rule("access.manage", "team"),
    "add_members": Rule("access.manage", "team", lambda w: {"people": [w.service.pk]}),
    "take_member": Rule("access.manage", "team"),
    "list_roles": Rule("access.manage"),
    "add_role": Rule("access.manage", body=lambda w: {"name": "Fresh", "verbs": ["host.see"]}),
    "ask_second_factor": Rule("access.manage", body=lambda w: {"roles": ["maintainer"]}),
    "get_role": Rule("access.manage", "role"),
    "change_role": Rule("access.manage", "role", lambda w: {"name": "Fresh"}),
    "remove_role": Rule("access.manage", "role"),
    "list_grants": Rule("access.manage"),
    "add_grant": Rule("access.manage", body=_grant),
    "preview_grant": Rule("access.manage", body=_terms),
    "get_grant": Rule("access.manage", "grant"),
    "change_grant": Rule("access.manage", "grant", lambda w: {"tags": ["dev-*"]}),
    "remove_grant": Rule("access.manage", "grant"),
    "why": Rule("access.manage", body=_question),
    "list_invitations": Rule("access.manage"),
    "invite": Rule("access.manage", body=lambda w: {"standing": "viewer"}),
    "withdraw_invitation": Rule("access.manage", "invitation"),
    "list_services": Rule(ANYBODY),
    "add_service": Rule("access.manage", body=lambda w: {"name": "fresh"}),
    "get_service": Rule("access.manage", "service", hidden=True),
    "change_service": Rule("access.manage", "service", lambda w: {"standing": "viewer", "is_active": True}),
    "list_tokens": Rule(ANYBODY),
    "add_token": Rule("access.manage", body=lambda w: {"owner": w.service.pk, "name": "fresh"}, hidden=True),
    "get_token": Rule("access.manage", "token", hidden=True),
    "revoke_token": Rule("access.manage", "token", hidden=True),
}


def make(name: str, owner: User) -> World:
    """A world in an environment of its own; `owner` asked for its operations."""
    environment = Environment.objects.create(name=name.title(), slug=name, position=1)
    host = Host.objects.create(
        name=f"{name}-1", environment=environment, public_key="k", state=HostState.CONNECTED, tunnel_up=True
    )
    image_name = intern_one(REFERENCE)
    image = Image.objects.create(host=host, engine_id="sha256:" + "b" * 64, size=7)
    repository, _, tag = REFERENCE.partition(":")
    named = ImageTag.objects.create(
        host=host, image=image, reference=REFERENCE, repository=repository, tag=tag, image_name_id=image_name
    )
    container = Container.objects.create(
        host=host, engine_id="d" * 64, name="shop", image_ref=REFERENCE, image_name_id=image_name, state="running"
    )
    operation = Operation.objects.create(
        kind="container.stop",
        title="Stop shop",
        state=State.FAILED,
        actor=owner,
        actor_name=owner.display,
        host=host,
        host_name=host.name,
        target_kind="container",
        target_id=container.engine_id,
        target_name="shop",
        image_name_id=image_name,
    )
    OperationOutput.objects.create(operation=operation, seq=1, text="stopped\n")
    source = Source("typed", dockerfile="FROM scratch\n").as_json()
    options = Options(host=host.pk, tags=[REFERENCE]).as_json()
    definition = Definition.objects.create(
        name=f"{name} shop", slug=f"{name}-shop", source=source, options=options, owner=owner
    )
    _, build = (_built(owner, host, image, source, options, image_name) for _ in range(2))
    person = User.objects.create(username=f"{name}-person", password=UNUSABLE, standing=Standing.MEMBER)
    service = User.objects.create(username=f"{name}-service", password=UNUSABLE, is_service=True)
    token, _ = issue(person, "theirs")
    invitation, _ = Invitation.issue(Standing.VIEWER, created_by=owner)
    about = (environment, host, container, named, operation, build, definition, person, service, token, invitation)
    entry = record(owner, "container.stop", host=host, target_name=name)
    more = (_kept(name, environment), _sent(owner), _recorded(container, owner), _signed_in(owner, name), entry)
    return World(*about, *_access(name, environment, person), *more)


def _access(name: str, environment: Environment, person: User) -> tuple[Team, Role, Grant]:
    """A team with `person` in it, a role that nobody has, and what the team is granted."""
    team = Team.objects.create(name=f"{name} team", slug=f"{name}-team", group=name)
    team.members.add(person)
    role = Role.objects.create(name=f"{name} role", slug=f"{name}-role", verbs=["container.see"])
    grant = Grant.objects.create(team=team, role=Role.objects.get(slug="operator"), repositories=[f"{name}/*"])
    grant.environments.set([environment])
    return team, role, grant


def _built(owner: User, host: Host, image: Image, source: Any, options: Any, image_name: int | None) -> Build:
    operation = Operation.objects.create(
        kind="image.build", title="Build", state=State.SUCCEEDED, actor=owner, host=host, image_name_id=image_name
    )
    made = {"image_id": image.engine_id, "tags": [REFERENCE], "size": 7}
    return Build.objects.create(operation=operation, source=source, options=options, **made)


def _kept(name: str, environment: Environment) -> Credential:
    credential = Credential(name=f"{name}-token", kind="secret", environment=environment)
    credential.secret = "not to be read"
    credential.save()
    return credential


def _sent(owner: User) -> Upload:
    """All of it has come, and nobody has said so."""
    upload = uploading.begin(owner, "files")
    uploading.append(upload, 0, bytes(TAR))
    return upload


def _recorded(container: Container, actor: User) -> Recording:
    """One that is over; its file is not there."""
    return Recording.objects.create(
        container=container,
        engine_id=container.engine_id,
        container_name=container.name,
        image_ref=container.image_ref,
        image_name_id=container.image_name_id,
        host=container.host,
        host_name=container.host.name,
        environment=container.host.environment,
        actor=actor,
        actor_name=actor.display,
        terminal=f"{container.pk:032x}",
        shell="sh",
        is_live=False,
        ended_at=timezone.now(),
        ending=Ending.EXITED,
        exit_code=0,
        size=1,
        path=f"2026-11/none-{container.pk}.cast",
    )


def _signed_in(user: User, name: str) -> BrowserSession:
    key = f"session-of-{name}"
    Session.objects.create(session_key=key, session_data="", expire_date=timezone.now() + timedelta(hours=1))
    return BrowserSession.objects.create(key=key, user=user, address="192.0.2.7", agent="Firefox/1 Linux")
