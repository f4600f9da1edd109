"""A fleet with a row of everything, and browsers of the people in it."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.security.fleet import Fleet, make


@pytest.fixture
def fleet(db: None) -> Fleet:
    return make()


@pytest.fixture
def administrator(fleet: Fleet) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(fleet.administrator)
    return client


@pytest.fixture
def viewer(fleet: Fleet) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(fleet.viewer)
    return client
