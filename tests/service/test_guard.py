import pytest

from penstock.http.request import Request
from penstock.service.guard import ANY_HOST, refuse


def request(*headers: tuple[str, str]) -> Request:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Request("POST", b"/", "1.1", pairs, {name.lower(): value for name, value in pairs})


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:3001",
        "localhost.",
        "app.lambda-url.localhost:3000",
        "127.0.0.1",
        "127.0.0.1:3001",
        "192.168.1.7:3001",
        "[::1]",
        "[::1]:3001",
        "[FE80::1%25eth0]:3001",
    ],
)
def test_names_that_cannot_be_rebound_are_served(host: str) -> None:
    assert refuse(request(("Host", host))) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:3001",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "[evil.example]",
        "::1",
        "2130706433",
        "xn--n3h.example",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    reason = refuse(request(("Host", host)))
    assert "is neither localhost nor an IP address" in reason
    assert "--allow-host" in reason
    assert "\n" not in reason


def test_without_a_host_it_is_refused() -> None:
    assert refuse(request()) != ""


@pytest.mark.parametrize("allowed", ["my.box", "My.Box", "my.box."])
@pytest.mark.parametrize("host", ["my.box", "MY.BOX:3001", "my.box."])
def test_a_host_may_be_allowed(host: str, allowed: str) -> None:
    assert refuse(request(("Host", host)), ["other", allowed]) == ""
    assert refuse(request(("Host", f"sub.{host}")), [allowed]) != ""


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null", ""])
def test_what_a_page_sends_is_refused_by_its_origin(origin: str) -> None:
    assert "Origin" in refuse(request(("Host", "localhost"), ("Origin", origin)))
    assert "Origin" in refuse(request(("Host", "my.box"), ("Origin", origin)), ["my.box"])


@pytest.mark.parametrize(
    ("site", "served"),
    [
        ("none", True),
        ("same-origin", True),
        ("same-site", False),
        ("cross-site", False),
        ("", False),
        ("?", False),
    ],
)
def test_what_the_browser_says_of_the_site(site: str, served: bool) -> None:
    reason = refuse(request(("Host", "localhost"), ("Sec-Fetch-Site", site)))
    assert (reason == "") is served


def test_where_all_is_signed_the_host_may_be_any_but_pages_are_still_refused() -> None:
    for host in ("lambda.example.com", "evil.example:3001", ""):
        assert refuse(request(("Host", host)), ANY_HOST) == ""
    assert refuse(request(), ANY_HOST) == ""
    page = request(("Host", "lambda.example.com"), ("Origin", "https://lambda.example.com"))
    assert "Origin" in refuse(page, ANY_HOST)
    cross = request(("Host", "lambda.example.com"), ("Sec-Fetch-Site", "cross-site"))
    assert "Sec-Fetch-Site" in refuse(cross, ANY_HOST)


def test_a_star_on_the_command_line_is_only_a_name() -> None:
    assert refuse(request(("Host", "evil.example")), ["*"]) != ""


# As Chromium sends them to http://localhost:3001, from a page of another site and from the address bar.
CHROMIUM = (
    ("Host", "localhost:3001"),
    ("Connection", "keep-alive"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"),
    ("Accept", "*/*"),
)


@pytest.mark.parametrize(
    ("sent", "served"),
    [
        ((("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")), True),
        ((("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")), False),  # a link
        (
            (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")),
            False,
        ),
        ((("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")), False),  # fetch, a form
        ((("Origin", "null"), ("Sec-Fetch-Site", "cross-site")), False),  # a sandboxed frame
        ((("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-site")), False),  # a function's page
        ((("Origin", "http://evil.example"),), False),  # over http a name is no secure context: no Sec-Fetch
    ],
)
def test_chromium(sent: tuple[tuple[str, str], ...], served: bool) -> None:
    assert (refuse(request(*CHROMIUM, *sent)) == "") is served
