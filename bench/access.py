"""The decision, and lists narrowed by it: 50,000 containers on 500 hosts, 10,000 names of images, 200 grants.

The peer is the administrator, whose lists are not narrowed at all: the same page, asked for in turns.
"""

from __future__ import annotations

import json
from typing import Any

from bench.figures import Figure, Ratio, Result
from tests.support.home import Home

ROUNDS = 25
CONTAINERS, NAMES, GRANTS = 50_000, 10_000, 200
PAGES = ("/containers/", "/containers/?q=web-499", "/containers/?state=running&sort=-created", "/images/")
LIMIT = 1.3  # of the administrator's time
DECISION = 50.0  # µs

# Runs in a process of its own: Django has one database a process.
PROGRAM = """
import json, sys, time
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from containers.models import Container
from controlplane.access.decide import allows, visible
from controlplane.access.models import Grant, Role, User
from controlplane.access.naming import cover_again, intern
from hosts.models import Environment, Host
from images.models import Image, ImageTag

count, names, grants, rounds, pages = *map(int, sys.argv[1:5]), sys.argv[5:]
call_command("migrate", verbosity=0)
environments = list(Environment.objects.all())[:3]
machines = [
    Host.objects.create(name=f"h{n}", state="connected", tunnel_up=True, environment=environments[n % 3])
    for n in range(count // 100)
]
now = django.utils.timezone.now()
at = lambda n: machines[n % len(machines)]
named = [(f"reg.example/team{n % 100}/app{n % 1000}", f"v{n // 1000}") for n in range(names)]
ids = intern(named)
Container.objects.bulk_create([
    Container(host=at(n), engine_id=f"{n:064x}", name=f"web-{n}", image_ref=":".join(named[n % names]),
              image_name_id=ids[named[n % names]], image_id=f"sha256:{n % names:064x}",
              state="running" if n % 3 else "exited", labels={"team": "x"}, labels_text="\\nteam=x\\n", created_at=now)
    for n in range(count)], batch_size=2000)
pictures = Image.objects.bulk_create(
    [Image(host=at(n), engine_id=f"sha256:{n:064x}", size=10**8) for n in range(names)], batch_size=2000)
ImageTag.objects.bulk_create([
    ImageTag(host=image.host, image=image, reference=":".join(named[n]), repository=named[n][0], tag=named[n][1],
             image_name_id=ids[named[n]])
    for n, image in enumerate(pictures)], batch_size=2000)
User.objects.create_user("ada", password="x", standing="administrator")
dev = User.objects.create_user("dev", password="x", standing="member")
role = Role.objects.get(slug="developer")
for n in range(grants):  # half of all teams' repositories, in one, two or three environments
    tags = [f"v{n % 5}*", f"v{n % 5 + 5}"]
    grant = Grant.objects.create(user=dev, role=role, repositories=[f"reg.example/team{n % 50}/*"], tags=tags)
    grant.environments.set(environments[: n % 3 + 1])
    cover_again(grant)
clients = {}
for name in ("ada", "dev"):
    clients[name] = Client(headers={"host": "127.0.0.1"})
    clients[name].force_login(User.objects.get(username=name))
found = {name: {page: {"samples": [], "queries": 0} for page in pages} for name in clients}
for page in pages:
    for number in range(rounds + 1):
        for name, client in clients.items():
            began = time.perf_counter()
            with CaptureQueriesContext(connection) as asked:
                assert client.get(page).status_code == 200
            if number:
                found[name][page]["samples"].append(1000 * (time.perf_counter() - began))
                found[name][page]["queries"] = len(asked)

rows = list(Container.objects.select_related("host", "image_name")[:2000])
decisions = {"cold": [], "warm": []}
dev = User.objects.get(pk=dev.pk)
allows(dev, "container.exec", rows[0])
for what in decisions:
    for row in rows:
        began = time.perf_counter()
        allows(dev, "container.exec", row)
        decisions[what].append(1e6 * (time.perf_counter() - began))
lists = []
for _ in range(rounds):
    began = time.perf_counter()
    with CaptureQueriesContext(connection) as asked:
        seen = visible(dev, "image.see", ImageTag.objects.all()).count()
    lists.append(1000 * (time.perf_counter() - began))
print(json.dumps({"pages": found, "decisions": decisions, "tags": lists, "queries": len(asked), "seen": seen}))
"""


def run() -> Result:
    found = _measure()
    result = Result(
        title=f"access over {CONTAINERS:,} containers and {NAMES:,} names of images, by {GRANTS} grants",
        pacing=f"{ROUNDS} requests of each page in turns, without a network; 2,000 decisions one after another",
    )
    pages = found["pages"]
    for page in PAGES:
        medians = {}
        for name, who in (("ada", "administrator"), ("dev", "developer")):
            figure = Figure(f"{page}, {who}", "ms", pages[name][page]["samples"])
            medians[name] = figure.median
            result.figures.append(figure)
        ratio = medians["dev"] / medians["ada"]
        result.ratios.append(Ratio(f"{page}, to the administrator's", ratio, f"at most {LIMIT}", ratio <= LIMIT))
    for what, samples in found["decisions"].items():
        result.figures.append(Figure(f"one decision, {what}", "µs", samples))
    warm = result.figures[-1].median
    result.ratios.append(Ratio("one decision, warm, µs", warm, f"at most {DECISION:.0f}", warm <= DECISION))
    result.figures.append(Figure(f"{found['seen']:,} of {NAMES:,} tags", "ms", found["tags"]))
    queries = found["queries"]
    result.ratios.append(Ratio("queries for the tags, their grants known", queries, "1", queries == 1))
    return result


def _measure() -> dict[str, Any]:
    with Home() as home:
        (home.path / "static").mkdir(exist_ok=True)
        sizes = map(str, (CONTAINERS, NAMES, GRANTS, ROUNDS))
        found: dict[str, Any] = json.loads(home.program(PROGRAM, *sizes, *PAGES))
    return found
