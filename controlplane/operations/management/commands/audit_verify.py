"""`manage.py audit_verify [--from N] [--json]`: is the audit trail as it was written?"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from controlplane.operations import anchors
from controlplane.operations.verify import verify


class Command(BaseCommand):
    help = (
        "Look for any altered, missing, reordered or inserted entry of the audit trail. Exit code 1 when one is found."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="start", type=int, default=1, metavar="N", help="begin at entry N")
        parser.add_argument("--json", action="store_true", help="the report as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["start"] < 1:
            raise CommandError(f"--from: expected the number of an entry, 1 or more; found {options['start']}.")
        report = verify(anchors.read(), options["start"])
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json()))
        else:
            for finding in report.findings:
                self.stdout.write(f"{finding.kind}: {finding.message}")
            self.stdout.write(
                f"{report.checked} entries from {report.first} fit, up to {report.last} with the hash {report.hash}; "
                f"{report.anchors} anchors of this machine were held beside them."
            )
        if report.findings:
            raise SystemExit(1)
