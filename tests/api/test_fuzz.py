"""The API against what nobody would send: schemathesis makes requests from the description, and holds the answers
against it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from controlplane.access.models import Standing, User
from controlplane.api import door
from controlplane.api.service import described
from tests.api.conftest import UNUSABLE, bearer, issue
from tests.api.table import make

# Streams are not read to their end by a client of WSGI: tests/api/test_streams.py, tests/api/test_audit.py.
STREAMS = ("get_output", "get_build_output", "get_logs", "download_logs", "get_cast", "export_audit")
CHECKS = (not_a_server_error, content_type_conformance, response_schema_conformance)
EXAMPLES = int(os.environ.get("GANTRY_FUZZ", "4"))  # of each operation; more when somebody looks for more

schema = schemathesis.openapi.from_dict(described())
schema.app = get_wsgi_application()
fuzzed = schema.exclude(operation_id=list(STREAMS))


@pytest.fixture
def _connection_kept() -> Iterator[None]:
    """A request's end closes the connection, and with it the test's transaction: as Django's own client does, not
    here."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def secret(db: None, _connection_kept: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """An administrator's token, which may ask as often as it likes."""
    administrator = User.objects.create(username="ada", password=UNUSABLE, standing=Standing.ADMINISTRATOR)
    make("shore", administrator)
    monkeypatch.setattr(door, "REQUESTS", door.Throttle("api-requests-fuzz", most=10**9, seconds=60))
    return issue(administrator)[1]


@fuzzed.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_it(case: Any, secret: str) -> None:
    case.call_and_validate(headers=bearer(secret), checks=CHECKS)
