"""Build arguments no Dockerfile has to declare.

Rules: Dockerfile reference, "Predefined ARGs" and "Automatic platform ARGs in the global scope".
"""

from collections.abc import Collection, Mapping

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
PROXY_ARGS = frozenset([*_PROXIES, *map(str.lower, _PROXIES)])
PLATFORM_ARGS = tuple(
    side + part for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
)


def proxy_env(given: Mapping[str, str]) -> dict[str, str]:
    """What RUN sees of the proxies given, in capitals and in small letters, as programs ask for either.

    Not in the image, not in its history, and no reason to run something again.
    """
    found = {}
    for name, value in given.items():
        if name.upper() in _PROXIES and value:
            found[name.upper()] = found[name.lower()] = value
    return found


def is_kept(name: str, declared: Collection[str]) -> bool:
    """Whether history and cache keep a build argument: proxies only when the stage declares them with ARG."""
    return name not in PROXY_ARGS or name in declared


def platform_args(build: str, target: str, stage: str = "", given: Mapping[str, str] | None = None) -> dict[str, str]:
    """BUILDPLATFORM to TARGETVARIANT, and TARGETSTAGE, from platforms such as "linux/arm/v7".

    In the global scope only: a stage that wants one says `ARG TARGETARCH`. A `given` build argument wins.
    """
    values: dict[str, str] = {}
    for side, platform in (("BUILD", build), ("TARGET", target)):
        system, architecture, variant = [*platform.split("/"), "", ""][:3]
        values |= {
            f"{side}PLATFORM": platform,
            f"{side}OS": system,
            f"{side}OSVERSION": "",
            f"{side}ARCH": architecture,
            f"{side}VARIANT": variant,
        }
    values["TARGETSTAGE"] = stage or "default"
    return {name: (given or {}).get(name, value) for name, value in values.items()}
