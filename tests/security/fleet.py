"""One row of everything a page can show, with the names a test gives it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from containers.models import Container, Ending, Recording
from controlplane.access.models import Grant, Invitation, Role, Standing, Team, Token, User
from controlplane.lib import origin
from controlplane.lib.origin import Door
from controlplane.operations.audit import record
from controlplane.operations.models import AuditEntry, Operation, OperationOutput, State
from hosts.models import Environment, Host, HostState
from images.builds.asked import Options, Source
from images.builds.models import Build, Credential, Definition, Upload
from images.models import Image, ImageTag

UNUSABLE = "!"  # no password fits; hashing one would take half of each test


@dataclass
class Fleet:
    """The rows; `pk` answers the id that an address below `prefix` needs."""

    administrator: User
    viewer: User
    invitation: Invitation
    environment: Environment
    host: Host
    container: Container
    tag: ImageTag
    operation: Operation
    build: Build
    definition: Definition
    credential: Credential
    upload: Upload
    team: Team
    role: Role
    grant: Grant
    recording: Recording
    entry: AuditEntry
    service: User
    token: Token

    def pk(self, route: str) -> int:
        """The id of the row that `route` (a pattern of the resolver) is about."""
        rows: dict[str, Any] = {
            "people/invitations/": self.invitation,
            "people/services/": self.service,
            "people/": self.viewer,
            "access/teams/": self.team,
            "access/roles/": self.role,
            "access/grants/": self.grant,
            "access/people/": self.viewer,
            "operations/audit/": self.entry,
            "profile/tokens/": self.token,
            "operations/": self.operation,
            "ws/operations/": self.operation,
            "hosts/environments/": self.environment,
            "hosts/": self.host,
            "builds/": self.build.operation,
            "containers/": self.container,
            "ws/containers/": self.container,
            "recordings/": self.recording,
            "ws/recordings/": self.recording,
        }
        row = next(row for prefix, row in rows.items() if route.startswith(prefix))
        return int(row.seq if isinstance(row, AuditEntry) else row.pk)


def make(text: str = "web") -> Fleet:
    """A fleet in which every text that comes from a host or a person contains `text`."""
    administrator = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    viewer = User.objects.create(username="vic", password=UNUSABLE, standing=Standing.VIEWER, first_name=text[:150])
    environment = Environment.objects.create(name=text[:60], slug="env", position=0)
    host = Host.objects.create(
        name=text[:120],
        environment=environment,
        public_key="k",
        state=HostState.CONNECTED,
        tunnel_up=True,
        labels={text: text},
        engine_kind="docker",
        engine_version=text[:60],
        os=text[:120],
        kernel=text[:120],
        arch=text[:40],
        agent_version=text[:40],
        state_reason=text[:300],
        last_seen_at=timezone.now(),
    )
    image = Image.objects.create(
        host=host, engine_id="sha256:" + "a" * 64, size=1, repo_digests=[text], labels={text: text}
    )
    tag = ImageTag.objects.create(image=image, host=host, reference=text, repository=text, tag="1")
    container = Container.objects.create(
        host=host,
        engine_id="c" * 64,
        name=text[:250],
        image_ref=text[:300],
        image_id=image.engine_id,
        command=text,
        state="running",
        labels={text: text},
        labels_text=f"\n{text}={text}\n",
        mounts=[{"type": text, "source": text, "target": text, "writable": True}],
        networks=[text],
        ports=[{"ip": text, "host": 80, "container": 80, "protocol": text}],
        created_at=timezone.now(),
    )
    operation = Operation.objects.create(
        kind="container.stop",
        title=f"Stop {text}"[:300],
        state=State.FAILED,
        actor=viewer,
        actor_name=text[:200],
        host=host,
        host_name=text[:200],
        target_kind="container",
        target_id=container.engine_id,
        target_name=text[:300],
        error=text,
        hint=text,
        progress={text: {"status": text, "current": 1, "total": 2}},
    )
    OperationOutput.objects.create(operation=operation, seq=1, stream="stderr", text=text)
    with origin.entered(door=Door.PAGE, ip="127.0.0.1"):
        entry = record(viewer, "container.stop", target_name=text, host_name=text, detail=text, operation=operation)
    invitation, _ = Invitation.issue(Standing.VIEWER, created_by=administrator)
    builds = _builds(text, operation, administrator)
    access = _access(text, viewer, environment)
    recording = _recording(text, container, viewer)
    about = (administrator, viewer, invitation, environment, host, container, tag, operation)
    return Fleet(*about, *builds, *access, recording, entry, *_accounts(text, viewer))


def _access(text: str, member: User, environment: Environment) -> tuple[Team, Role, Grant]:
    """A team of the viewer's, a role of one's own, and that role granted to that team."""
    team = Team.objects.create(name=text[:80], slug="a-team", group=text[:200])
    team.members.add(member)
    role = Role.objects.create(name=text[:60], slug="a-role", description=text[:300], verbs=["container.see"])
    grant = Grant.objects.create(team=team, role=role, repositories=[text[:200]], tags=[text[:200]], reason=text[:300])
    grant.environments.set([environment])
    return team, role, grant


def _accounts(text: str, viewer: User) -> tuple[User, Token]:
    """A service account that the viewer sees to, and a token of the viewer's."""
    service = User.objects.create(
        username="svc", password=UNUSABLE, is_service=True, responsible=viewer, purpose=text[:200]
    )
    token = Token.objects.create(
        owner=viewer,
        name=text[:80],
        token_hash="h",
        hint="gantry_pat_abcd",
        addresses=[text],
        expires_at=timezone.now() + timedelta(days=1),
    )
    return service, token


def _recording(text: str, container: Container, actor: User) -> Recording:
    """A recording that is over; its file is not there."""
    return Recording.objects.create(
        container=container,
        engine_id=container.engine_id,
        container_name=text[:250],
        image_ref=text[:300],
        image_name=container.image_name,
        image_id=container.image_id,
        host=container.host,
        host_name=text[:200],
        environment=container.host.environment,
        actor=actor,
        actor_name=text[:200],
        terminal="d" * 32,
        shell=text[:300],
        is_live=False,
        ended_at=timezone.now(),
        ending=Ending.FULL,
        trouble=text[:300],
        size=1,
        path="2026-11/none.cast",
    )


def _builds(text: str, operation: Operation, owner: User) -> tuple[Build, Definition, Credential, Upload]:
    """A build of a definition, its files, and a credential."""
    line = " ".join(text.splitlines())  # a Dockerfile is shown line by line
    upload = Upload.objects.create(name=text[:200], owner=owner, size=1, files=1, finished_at=timezone.now())
    credential = Credential(name="token", kind="secret", server=text[:250], username=text[:250], known_hosts=text)
    credential.secret = text
    credential.save()
    source = Source("typed", dockerfile=f"FROM {text}", ref=text, folder=text, url=text).as_json()
    options = Options(host=operation.host_id or 0, tags=["web:1"], args={text: text}, target=text).as_json()
    definition = Definition.objects.create(
        name=text[:80],
        slug="a-definition",
        source=source,
        options=options,
        owner=owner,
        refused_why=text[:500],
        base_digests={text: text},
        follows_base=True,
        base_trouble=text[:500],
    )
    build = Build.objects.create(
        operation=operation,
        definition=definition,
        number=1,
        source=source,
        options=options,
        dockerfile=f"FROM {line}\nRUN {line}\n",
        commit=text[:64],
        stages=[{"position": 0, "base": text, "name": text, "needs": [], "steps": [_step(text)]}],
        steps=[{**_step(text), "key": "1", "stage": 0, "state": "built", "seconds": 1}],
        image_id="sha256:" + "a" * 64,
        tags=["web:1", text],
        size=1,
        layers=[{"created_by": text, "size": 1}],
    )
    return build, definition, credential, upload


def _step(text: str) -> dict[str, Any]:
    return {"word": "FROM", "text": text, "line": 1}


def prove(client: Client, user: User) -> None:
    """As if `user`, who is signed in with `client`, had given the password just now."""
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time()}]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()
