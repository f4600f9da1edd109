"""Pages over a large mirror: 500 hosts, 50,000 containers, 10,000 names of images, in the embedded database.

There is no peer to stand beside: what counts is that a page costs the same number of queries and about the same
time however large the mirror is, so each page is also measured over a mirror of a hundredth of that size.
"""

from __future__ import annotations

import json
from typing import Any

from bench.figures import Figure, Ratio, Result
from tests.support.home import Home

PAGES = (
    "/",
    "/hosts/",
    "/containers/",
    "/containers/?q=web-499",
    "/containers/?state=running&sort=-created",
    "/containers/?sort=host&page=900",
    "/images/",
)
ROUNDS = 15
LARGE, SMALL = 50_000, 500

# Runs in a process of its own for each mirror: Django has one database a process.
PROGRAM = """
import json, sys, time
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from controlplane.access.models import User
from containers.models import Container
from hosts.models import Host
from images.models import Image, ImageTag

count, rounds, pages = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
call_command("migrate", verbosity=0)
machines = [Host.objects.create(name=f"h{n}", state="connected", tunnel_up=True) for n in range(max(5, count // 100))]
now = django.utils.timezone.now()
at = lambda n: machines[n % len(machines)]
Container.objects.bulk_create([
    Container(host=at(n), engine_id=f"{n:064x}", name=f"web-{n}", image_ref=f"reg/shop/app{n % 200}:v{n % 9}",
              image_id=f"sha256:{n % 1800:064x}", state="running" if n % 3 else "exited", labels={"team": "x"},
              labels_text="\\nteam=x\\n", created_at=now) for n in range(count)], batch_size=2000)
pictures = Image.objects.bulk_create(
    [Image(host=at(n), engine_id=f"sha256:{n:064x}", size=10**8) for n in range(count // 5)], batch_size=2000)
ImageTag.objects.bulk_create([
    ImageTag(host=image.host, image=image, reference=f"reg/shop/app{n}:v1", repository=f"reg/shop/app{n}", tag="v1")
    for n, image in enumerate(pictures)], batch_size=2000)
User.objects.create_user("ada", password="x", standing="administrator")
client = Client(headers={"host": "127.0.0.1"})
client.force_login(User.objects.get())
found = {}
for page in pages:
    client.get(page)
    samples, queries = [], 0
    for _ in range(rounds):
        began = time.perf_counter()
        with CaptureQueriesContext(connection) as asked:
            assert client.get(page).status_code == 200
        samples.append(1000 * (time.perf_counter() - began))
        queries = len(asked)
    found[page] = {"samples": samples, "queries": queries}
print(json.dumps(found))
"""


def run() -> Result:
    large, small = _measure(LARGE), _measure(SMALL)
    result = Result(
        title=f"pages over {LARGE:,} containers, and over {SMALL}",
        pacing=f"{ROUNDS} requests of each page one after another, without a network",
    )
    for page in PAGES:
        for name, found in ((f"{LARGE:,}", large), (f"{SMALL}", small)):
            result.figures.append(Figure(f"{page} over {name}", "ms", found[page]["samples"]))
        more = large[page]["queries"] - small[page]["queries"]
        result.ratios.append(Ratio(f"{page}: more queries", more, "none", more <= 0))
    return result


def _measure(count: int) -> dict[str, Any]:
    """{page: {"samples": [ms], "queries": n}} over a mirror of `count` containers."""
    with Home() as home:
        (home.path / "static").mkdir(exist_ok=True)
        found: dict[str, Any] = json.loads(home.program(PROGRAM, str(count), str(ROUNDS), *PAGES))
    return found
