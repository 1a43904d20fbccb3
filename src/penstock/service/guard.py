"""Who may use the Lambda API on a developer's machine: programs, but no web page.

A page in the developer's browser can send requests to loopback, and by DNS rebinding under a name of its
own. So the Host must be one that cannot be rebound, and whatever a browser marks as coming from a page is
refused. Where every request is signed the Host may be any (`ANY_HOST`): it is part of what is signed, and a
page has no key to sign with. What comes from a page is refused there as well. Pure.
"""

import ipaddress
from collections.abc import Collection

from penstock.http.request import Request

ANY_HOST: Collection[str] = ("*",)
"""As `allow_hosts`: the Host says nothing about who may call."""


def refuse(request: Request, allow_hosts: Collection[str] = ()) -> str:
    """Why this request is not to be served; empty when it is."""
    host = _hostname((request.get(b"host") or b"").decode("latin-1"))
    if (
        allow_hosts is not ANY_HOST
        and not _is_local(host)
        and host not in (name.lower().rstrip(".") for name in allow_hosts)
    ):
        return (
            f"the Host {host!r} is neither localhost nor an IP address: the Lambda API is not for web pages;"
            f" --allow-host {host or 'NAME'} lets it in"
        )
    if (origin := request.get(b"origin")) is not None:
        return f"requests of web pages (Origin: {origin.decode('latin-1')}) may not invoke functions here"
    site = request.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return (
            f"requests of web pages (Sec-Fetch-Site: {site.decode('latin-1')}) may not invoke functions here"
        )
    return ""


def _hostname(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
