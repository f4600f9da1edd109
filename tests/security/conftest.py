"""A fleet with a row of everything, and browsers of the people in it."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.security.fleet import Fleet, make, prove
from tests.security.tenants import Tenants, make_tenants


@pytest.fixture
def fleet(db: None) -> Fleet:
    return make()


@pytest.fixture
def administrator(fleet: Fleet) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(fleet.administrator)
    prove(client, fleet.administrator)
    return client


@pytest.fixture
def viewer(fleet: Fleet) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(fleet.viewer)
    return client


@pytest.fixture
def tenants(db: None) -> Tenants:
    return make_tenants()


@pytest.fixture
def developer(tenants: Tenants) -> Client:
    client = Client(raise_request_exception=True)
    client.force_login(tenants.developer)
    return client
