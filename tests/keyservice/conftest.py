"""One OpenID provider for the tests that leave it as it is."""

from collections.abc import Iterator

import pytest
from openidprovider import OpenIdProvider
from smallkeyservice import PEOPLE, SmallKeyService


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(tmp_path_factory.mktemp("provider"), PEOPLE) as running:
        yield running


@pytest.fixture(scope="module")
def service(provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallKeyService]:
    folder = tmp_path_factory.mktemp("department")
    with SmallKeyService(folder, provider, releases_an_hour=1000, requests_a_minute=10_000) as small:
        yield small
