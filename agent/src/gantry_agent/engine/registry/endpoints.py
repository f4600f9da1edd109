"""Where a registry is: its own address, its mirrors, and how far each is trusted, from the configuration."""

import ipaddress
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gantry_agent.engine.config import Config
from gantry_agent.engine.errors import InvalidArgument

HUB = "docker.io"
HUB_HOSTS = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
HUB_ENDPOINT = "registry-1.docker.io"


@dataclass(frozen=True)
class Endpoint:
    """One address that speaks the registry API. `schemes` are tried in order until one answers."""

    host: str
    """HOST[:PORT]"""
    schemes: tuple[str, ...] = ("https",)
    verify: bool = True
    ca: str = ""
    """A PEM file trusted beside the system's."""
    path: str = ""
    """What comes before /v2/, for a mirror below a path; begins with a slash."""
    is_mirror: bool = False


def endpoints(registry: str, config: Config, *, mirrors: bool) -> list[Endpoint]:
    """Where to ask for images of `registry` (as in a reference), best first. Raises InvalidArgument."""
    own = settings_of(registry, config)
    found: list[Endpoint] = []
    if mirrors:
        urls = list(_strings(own.get("mirrors"), f"registries.{registry}.mirrors"))
        if registry in HUB_HOSTS:
            urls += [url for url in config.registry_mirrors if url not in urls]
        found = [_mirror(url, config) for url in urls]
    host = HUB_ENDPOINT if registry in HUB_HOSTS else registry
    return [*found, _endpoint(host, config, str(own.get("ca") or ""))]


def settings_of(host: str, config: Config) -> dict[str, Any]:
    """What the configuration's `registries` says of a host. Raises InvalidArgument."""
    found = config.registries.get(host, {})
    if not isinstance(found, dict) or not found.keys() <= {"ca", "mirrors"}:
        raise InvalidArgument(f'the configuration\'s registries.{host} must be an object with "ca" and "mirrors"')
    return found


def _strings(found: Any, key: str) -> list[str]:
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InvalidArgument(f"the configuration's {key} must be a list of addresses")
    return found


def _endpoint(host: str, config: Config, ca: str) -> Endpoint:
    if is_insecure(host, config):
        return Endpoint(host, ("https", "http"), verify=False, ca=ca)
    return Endpoint(host, ca=ca)


def _mirror(url: str, config: Config) -> Endpoint:
    """A mirror as configured: `https://HOST[:PORT][/PATH]`, `http://…` (then plain), or `HOST[:PORT]`."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.query:
        raise InvalidArgument(f"invalid mirror {url!r}: expected http[s]://HOST[:PORT][/PATH] without credentials")
    host, path = parts.netloc, parts.path.rstrip("/")
    ca = str(settings_of(host, config).get("ca") or "")
    is_plain = parts.scheme == "http"
    verify = not is_insecure(host, config)
    return Endpoint(host, ("http",) if is_plain else ("https",), verify, ca, path, is_mirror=True)


def is_insecure(host: str, config: Config) -> bool:
    """Whether HTTP, or HTTPS without verification, is allowed: loopback, and what the configuration lists.

    A network (10.0.0.0/8) covers addresses only: what a name resolves to is no reason to trust it less.
    """
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or host in config.insecure_registries or name in config.insecure_registries:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _networks(config.insecure_registries))


def _networks(listed: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for each in listed:
        try:
            found.append(ipaddress.ip_network(each, strict=False))
        except ValueError:
            continue  # a host name
    return found


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """How an HTTPS endpoint is verified. Reads files: call it in a thread. Raises InvalidArgument for a bad CA."""
    if not endpoint.verify:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context = ssl.create_default_context()
    if endpoint.ca:
        try:
            context.load_verify_locations(endpoint.ca)
        except (OSError, ssl.SSLError) as exc:
            raise InvalidArgument(f"the CA file {endpoint.ca} of {endpoint.host} cannot be used: {exc}") from exc
    return context
