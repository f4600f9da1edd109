"""The forms of builds: what is built, from where, how; definitions; credentials."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django import forms

from controlplane.access.decide import Actor, allows
from controlplane.access.giving import EVERYTHING
from controlplane.access.models import User
from controlplane.lib.errors import InvalidArgument
from controlplane.lib.fields import ParsedField
from controlplane.lib.typed import Malformed, each_line, parse_memory, parse_variables
from hosts.access import environments
from hosts.models import Environment
from images.builds import addresses, cloning, naming, pool, schedules
from images.builds.access import credentials, names_seen
from images.builds.asked import DOCKERFILE, GIT, TYPED, UPLOAD, Options, Source
from images.builds.context import dockerfile_path
from images.builds.models import Build, Concurrency, Credential, CredentialKind, Definition, Upload

LONGEST_MINUTES = 24 * 60
MONO = {"class": "mono", "spellcheck": "false", "autocomplete": "off"}


def saying(check: Callable[[str], object]) -> Callable[[str], str]:
    """A parser that gives back what `check` lets pass; its InvalidArgument becomes the field's error."""

    def parse(text: str) -> str:
        text = text.strip()
        try:
            if text:
                check(text)
        except InvalidArgument as exc:
            raise Malformed(f"{exc.message} {exc.hint}".strip()) from exc
        return text

    return parse


def parse_dockerfile_path(text: str) -> str:
    try:
        return dockerfile_path(text.strip() or DOCKERFILE)
    except InvalidArgument as exc:
        raise Malformed(f"{exc.message} {exc.hint}") from exc


def parse_lines(text: str) -> list[str]:
    return [line for _, line in each_line(text, str.strip)]


def parse_minutes(text: str) -> int:
    """Seconds; an hour when nothing was typed."""
    text = text.strip() or "60"
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or not 1 <= int(text) <= LONGEST_MINUTES:
        raise Malformed(f"expected minutes from 1 to {LONGEST_MINUTES}, found “{text[:20]}”.")
    return int(text) * 60


def parse_cpus(text: str) -> float:
    text = text.strip()
    try:
        found = float(text) if text else 0.0
    except ValueError:
        found = -1.0
    if not 0 <= found < 10_000 or (text and found < 0.01):
        raise Malformed(f"expected a number of CPUs such as 0.5 or 2, found “{text[:20]}”.")
    return found


class BuildForm(forms.Form):
    """Where the files come from, and how they are built. `source` and `options` are what it comes to."""

    kind = forms.ChoiceField(
        choices=[(TYPED, "Typed here"), (UPLOAD, "Folder or archive"), (GIT, "Git")],
        widget=forms.RadioSelect,
        initial=TYPED,
    )
    dockerfile = forms.CharField(
        required=False,
        strip=False,
        max_length=1024 * 1024,
        widget=forms.Textarea(attrs={**MONO, "rows": 16, "data-dockerfile": ""}),
    )
    upload = forms.CharField(required=False, max_length=32, widget=forms.HiddenInput)  # beside a typed Dockerfile
    folder_upload = forms.CharField(required=False, max_length=32, widget=forms.HiddenInput)
    dockerfile_path = ParsedField(parse_dockerfile_path, placeholder=DOCKERFILE)
    url = ParsedField(saying(addresses.parse), placeholder="https://git.example/team/app.git")
    ref = ParsedField(saying(cloning.check_ref), placeholder="main")
    folder = ParsedField(saying(cloning.check_folder), placeholder="services/web")
    submodules = forms.BooleanField(required=False, label="Fetch its submodules too")
    credential = forms.ModelChoiceField(Credential.objects.none(), required=False, empty_label="None: it is public")

    where = forms.ChoiceField(label="Host")
    tags = ParsedField(parse_lines, rows=2, placeholder="shop/web:{branch}-{n}")
    target = forms.CharField(required=False, max_length=200, widget=forms.TextInput(attrs=MONO))
    args = ParsedField(parse_variables, rows=3, placeholder="VERSION=1.2")
    platform = forms.CharField(
        required=False, max_length=60, widget=forms.TextInput(attrs={**MONO, "placeholder": "linux/amd64"})
    )
    no_cache = forms.BooleanField(required=False, label="Without the cache: every step is run")
    pull = forms.BooleanField(required=False, label="Pull the base images, also where the host has them")
    cache_from = ParsedField(parse_lines, rows=2, placeholder="registry.example/shop/web:latest")
    secrets = forms.ModelMultipleChoiceField(
        Credential.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    logins = forms.ModelMultipleChoiceField(
        Credential.objects.none(), required=False, widget=forms.CheckboxSelectMultiple
    )
    push = forms.BooleanField(required=False, label="Push every tag to its registry once it is built")
    memory = ParsedField(parse_memory, placeholder="2g")
    cpus = ParsedField(parse_cpus, placeholder="2")
    minutes = ParsedField(parse_minutes, placeholder="60")

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor = actor
        kinds = credentials(actor).order_by("name")
        self.fields["credential"].queryset = kinds.filter(  # type: ignore[attr-defined]
            kind__in=[CredentialKind.GIT_TOKEN, CredentialKind.GIT_KEY]
        )
        self.fields["secrets"].queryset = kinds.filter(kind=CredentialKind.SECRET)  # type: ignore[attr-defined]
        self.fields["logins"].queryset = kinds.filter(kind=CredentialKind.REGISTRY)  # type: ignore[attr-defined]
        self.fields["where"].choices = places(actor)  # type: ignore[attr-defined]

    def clean_upload(self) -> str:
        return self._mine(self.cleaned_data["upload"])

    def clean_folder_upload(self) -> str:
        return self._mine(self.cleaned_data["folder_upload"])

    def _mine(self, ident: str) -> str:
        """Only what the same person has sent: an id is no right to another's files."""
        if ident and not Upload.objects.filter(pk=ident, owner=self.actor).exclude(finished_at=None).exists():
            raise forms.ValidationError("Expected files you sent, found none that arrived whole. Send them again.")
        return ident

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        wanted = {
            TYPED: ("dockerfile", "Expected a Dockerfile, found nothing. Begin with FROM."),
            UPLOAD: ("folder_upload", "Expected a folder or an archive, found nothing. Choose one, or drop it here."),
            GIT: ("url", "Expected the address of a repository, found nothing."),
        }
        field, problem = wanted.get(data.get("kind", ""), ("kind", "Expected a source, found none."))
        if field not in self.errors and not str(data.get(field) or "").strip():
            self.add_error(field, problem)
        for template in data.get("tags") or []:
            try:
                naming.check(template, git=data.get("kind") == GIT)
            except InvalidArgument as exc:
                self.add_error("tags", f"{exc.message} {exc.hint}".strip())
        if data.get("push") and not data.get("tags"):
            self.add_error("tags", "Expected a tag to push, found none.")
        return data

    @property
    def source(self) -> Source:
        """Only what belongs to the chosen kind: what was typed for another is dropped."""
        data = self.cleaned_data
        if data["kind"] == TYPED:
            return Source(TYPED, dockerfile=data["dockerfile"].replace("\r\n", "\n"), upload=data["upload"])
        if data["kind"] == UPLOAD:
            return Source(UPLOAD, upload=data["folder_upload"], dockerfile_path=data["dockerfile_path"])
        return Source(
            GIT,
            dockerfile_path=data["dockerfile_path"],
            url=data["url"],
            ref=data["ref"],
            folder=data["folder"].strip("/"),
            submodules=data["submodules"],
            credential=data["credential"].name if data["credential"] else "",
        )

    @property
    def options(self) -> Options:
        data = self.cleaned_data
        kind, _, place = data["where"].partition(":")
        return Options(
            host=int(place) if kind == "host" else 0,
            pool=place if kind == "pool" else "",
            tags=data["tags"],
            target=data["target"],
            args=data["args"],
            platform=data["platform"],
            cache=not data["no_cache"],
            pull=data["pull"],
            cache_from=data["cache_from"],
            secrets=[each.name for each in data["secrets"]],
            logins=[each.name for each in data["logins"]],
            push=data["push"],
            memory=data["memory"],
            cpus=data["cpus"],
            timeout=data["minutes"],
        )

    @property
    def has_details(self) -> bool:
        """Whether one of the folded fields has something to show."""
        names = ("target", "args", "platform", "no_cache", "pull", "cache_from", "memory", "cpus", "minutes")
        return any(self[name].value() or self[name].errors for name in names)


def places(actor: Actor) -> list[tuple[str, Any]]:
    """Pools first, then hosts; those out of contact say so."""
    pools = [
        (f"pool:{name}", f"The least busy of {'all builders' if name == pool.COMMON else name} ({len(members)})")
        for name, members in pool.pools(actor).items()
    ]
    single = [
        (f"host:{host.pk}", host.name if host.is_connected else f"{host.name} ({host.get_state_display().lower()})")
        for host in pool.builders(actor)
    ]
    return [*([("Builder pools", pools)] if pools else []), ("Hosts", single)]


def initial_of(actor: Actor, source: Source, options: Options) -> dict[str, Any]:
    """What a form shows to begin with, to do again or change what was asked before."""
    names = credentials(actor).in_bulk([source.credential, *options.secrets, *options.logins], field_name="name")
    return {
        **source.as_json(),
        "upload": source.upload if source.kind == TYPED else "",
        "folder_upload": source.upload if source.kind == UPLOAD else "",
        "credential": names.get(source.credential),
        "where": f"pool:{options.pool}" if options.pool else f"host:{options.host}",
        "tags": "\n".join(options.tags),
        "target": options.target,
        "args": "\n".join(f"{name}={value}" for name, value in options.args.items()),
        "platform": options.platform,
        "no_cache": not options.cache,
        "pull": options.pull,
        "cache_from": "\n".join(options.cache_from),
        "secrets": [names[name] for name in options.secrets if name in names],
        "logins": [names[name] for name in options.logins if name in names],
        "push": options.push,
        "memory": str(options.memory) if options.memory else "",
        "cpus": f"{options.cpus:g}" if options.cpus else "",
        "minutes": str(options.timeout // 60) if options.timeout != 3600 else "",
    }


def initial_like(actor: Actor, build: Build) -> dict[str, Any]:
    """The same, like a build that `actor` sees: of its names, those they see."""
    options = Options.of_json(build.options)
    options.tags = names_seen(actor, build.operation.host, options.tags)
    return initial_of(actor, Source.of_json(build.source), options)


class DefinitionForm(BuildForm):
    """A build to be done again: its name, and what starts it."""

    name = forms.CharField(max_length=80, error_messages={"required": "Expected a name, such as “web”, found nothing."})
    concurrency = forms.ChoiceField(choices=Concurrency.choices, initial=Concurrency.QUEUE)
    schedule = ParsedField(saying(schedules.parse), placeholder="30 3 * * 1-5")
    follows_base = forms.BooleanField(
        required=False, label="Build again when a base image’s name stands for another image in its registry"
    )

    def __init__(self, *args: Any, definition: Definition, **kwargs: Any) -> None:
        self.definition = definition
        super().__init__(*args, **kwargs)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if Definition.objects.filter(name=name).exclude(pk=self.definition.pk).exists():
            raise forms.ValidationError(f"There is a build called {name} already.")
        return name

    def _mine(self, ident: str) -> str:
        kept = self.definition.source.get("upload", "")
        return ident if ident and ident == kept else super()._mine(ident)

    def fill(self) -> Definition:
        """The definition with what the form says; not saved."""
        data, definition = self.cleaned_data, self.definition
        definition.name, definition.concurrency = data["name"], data["concurrency"]
        definition.schedule, definition.follows_base = data["schedule"], data["follows_base"]
        definition.source, definition.options = self.source.as_json(), self.options.as_json()
        return definition


class CredentialForm(forms.Form):
    """A credential; when one is changed, an empty secret keeps the one there is."""

    name = forms.SlugField(
        max_length=60,
        error_messages={
            "required": "Expected a name, found nothing.",
            "invalid": "Expected letters, digits, “-” and “_”: a build secret is read by this name.",
        },
        widget=forms.TextInput(attrs=MONO),
    )
    kind = forms.ChoiceField(choices=CredentialKind.choices)
    server = forms.CharField(
        required=False, max_length=250, widget=forms.TextInput(attrs={**MONO, "placeholder": "registry.example:5000"})
    )
    username = forms.CharField(required=False, max_length=250, widget=forms.TextInput(attrs=MONO))
    secret = forms.CharField(
        required=False,
        strip=False,
        max_length=64 * 1024,
        widget=forms.Textarea(attrs={**MONO, "rows": 4, "class": "mono secret-text"}),
    )
    known_hosts = forms.CharField(
        required=False, max_length=20_000, widget=forms.Textarea(attrs={**MONO, "rows": 2}), label="Known hosts"
    )
    environment = forms.ModelChoiceField(Environment.objects.none(), required=False, empty_label="Hosts of any")

    def __init__(self, *args: Any, credential: Credential, actor: Actor, **kwargs: Any) -> None:
        self.credential = credential
        super().__init__(*args, **kwargs)
        field = self.fields["environment"]
        field.queryset = environments(actor, "registry.manage")  # type: ignore[attr-defined]
        field.required = not allows(actor, "registry.manage", EVERYTHING)
        if credential.pk:
            self.fields["name"].disabled = self.fields["kind"].disabled = True

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name == "new":
            raise forms.ValidationError("Expected another name: “new” is the address of this form.")
        if Credential.objects.filter(name=name).exclude(pk=self.credential.pk).exists():
            raise forms.ValidationError(f"There is a credential called {name} already.")
        return name

    def clean_server(self) -> str:
        server: str = self.cleaned_data["server"].strip().removeprefix("https://").removeprefix("http://").rstrip("/")
        if "/" in server or "@" in server:
            raise forms.ValidationError(f"Expected HOST or HOST:PORT, found “{server}”.")
        return "docker.io" if server in ("index.docker.io", "registry-1.docker.io") else server.lower()

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        kind = data.get("kind")
        if kind != CredentialKind.SECRET and not data.get("server") and "server" not in self.errors:
            self.add_error("server", "Expected the server that may see it, found nothing.")
        if kind == CredentialKind.REGISTRY and not data.get("username"):
            self.add_error("username", "Expected the user’s name, found nothing.")
        if not data.get("secret") and not self.credential.pk:
            self.add_error("secret", "Expected the secret itself, found nothing.")
        if self.credential.pk and not data.get("secret") and self._reaches_further(data):
            self.add_error("secret", "Enter it again: it is to be shown where it was not before.")
        if kind == CredentialKind.GIT_KEY and data.get("secret") and "PRIVATE KEY-----" not in data["secret"]:
            self.add_error("secret", "Expected a private key in PEM, found none (-----BEGIN … PRIVATE KEY-----).")
        return data

    def _reaches_further(self, data: dict[str, Any]) -> bool:
        """Whether the secret there is would be shown to somebody else than before."""
        kept = self.credential
        environment = data.get("environment")
        wider = environment is None and kept.environment_id is not None
        other = environment is not None and environment.pk != kept.environment_id
        return wider or other or data.get("server") != kept.server

    def fill(self) -> Credential:
        """The credential with what the form says; not saved."""
        data, credential = self.cleaned_data, self.credential
        credential.name, credential.kind = data["name"], data["kind"]
        credential.server, credential.username = data["server"], data["username"]
        credential.known_hosts, credential.environment = data["known_hosts"], data["environment"]
        if data["secret"]:
            secret = data["secret"].replace("\r\n", "\n")
            credential.secret = secret if credential.kind == CredentialKind.GIT_KEY else secret.strip("\n")
        return credential


def read_json(body: bytes) -> dict[str, Any]:
    """An object from a script of ours. Raises InvalidArgument."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument("Expected JSON, found something else.") from exc
    if not isinstance(found, dict):
        raise InvalidArgument("Expected a JSON object.")
    return found
