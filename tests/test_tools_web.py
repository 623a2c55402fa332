"""`fetch` reads pages as text, and reaches the public internet alone, whatever it is told.

The attacks are real: servers on loopback that count what reaches them, a resolver that changes
its answer, sockets that drip, bodies that explode.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from hosting import OTHER, PUBLIC, Internet, answering, hosted
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from agentkit import PluginError, Retry, Toolset, tool
from agentkit_tools.internet.address import Refused, Rules, special
from agentkit_tools.internet.requesting import Limits
from agentkit_tools.web import WebConfig, plugin, web_toolset
from agentkit_tools.web.charset import text_of
from agentkit_tools.web.toolset import limits_of, rules_of

PAGE = """<!doctype html><html><head><title> Owls
 &amp; mice </title><script>var x = "<p>no</p>"</script></head><body>
<nav><a href="/">Home</a></nav><main><h1>The <i>barn</i> owl</h1>
<p>It hunts <b>mice</b>, see <a href="/mice?all=1">there</a>.</p>
<ul><li>white<li><p>brown</p><ol><li>one</li><li>two</li></ol></ul>
<table><tr><th>sort<th>size</tr><tr><td>barn<td>34 cm</tr></table>
<pre>wing(
  1)</pre></main><footer>Imprint</footer></body></html>"""


class Site:
    """A site with a page of every sort, which keeps the requests it gets."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.app = Starlette(routes=[Route("/{path:path}", self.answer)])

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        path = request.path_params["path"]
        if path == "to":
            return RedirectResponse(request.query_params["url"])
        if path == "round":
            return RedirectResponse("/round")
        if path == "endless":
            return StreamingResponse(self.forever(), media_type="text/plain")
        if path == "bomb":
            packed = gzip.compress(b"0" * 50_000_000)
            return Response(packed, headers={"content-encoding": "gzip"}, media_type="text/plain")
        bodies: dict[str, tuple[str | bytes, str]] = {
            "": (PAGE, "text/html"),
            "plain": ("x" * 950 + "end", "text/plain"),
            "json": ('{"a": [1, 2]}', "application/problem+json"),
            "film": (b"\x00" * 100, "video/mp4"),
            "cookie": ("crumb", "text/plain"),
            "deep": ("<div>" * 200_000, "text/html"),
        }
        if path not in bodies:
            return Response("<title>Gone</title>", 404, media_type="text/html")
        response = Response(bodies[path][0], media_type=bodies[path][1])
        response.set_cookie("session", "1")
        return response

    async def forever(self) -> AsyncIterator[bytes]:
        while True:
            yield b"round and round " * 100
            await anyio.sleep(0.001)


@pytest.fixture(scope="module")
def served() -> Generator[tuple[Site, Site]]:
    site, victim = Site(), Site()
    with hosted(site.app) as site.port, hosted(victim.app) as victim.port:
        yield site, victim


@pytest.fixture
def site(served: tuple[Site, Site]) -> Site:
    """A site that has a public address."""
    served[0].requests.clear()
    return served[0]


@pytest.fixture
def victim(served: tuple[Site, Site]) -> Site:
    """A site on loopback, which nothing may reach."""
    served[1].requests.clear()
    return served[1]


@pytest.fixture
def internet(site: Site) -> Internet:
    """An internet with the site at owls.example, and loopback as it is."""
    return Internet({"owls.example": [[PUBLIC]]}, {PUBLIC: site.port, OTHER: site.port})


def on(internet: Internet, **config: Any) -> Toolset:
    made = WebConfig(**config)
    return web_toolset(made, requester=internet.requester(rules_of(made), limits_of(made)))


async def fetch(tools: Toolset, url: str, **arguments: Any) -> str:
    result = await tools.tools[0](url, **arguments)
    assert isinstance(result, str)
    return result


# What it reads


async def test_a_page_is_its_title_and_its_main_part_as_text(internet: Internet) -> None:
    assert await fetch(on(internet), "http://owls.example/") == (
        "Title: Owls & mice\n\n"
        "# The barn owl\n\nIt hunts mice, see there.\n\n"
        "- white\n- brown\n  1. one\n  2. two\n\n"
        "sort | size\nbarn | 34 cm\n\n"
        "```\nwing(\n  1)\n```"
    )


async def test_links_are_shown_where_they_are_asked_for(internet: Internet) -> None:
    said = await fetch(on(internet), "http://owls.example/", links=True)
    assert "see there (http://owls.example/mice?all=1)." in said


async def test_a_long_page_is_read_in_parts(internet: Internet) -> None:
    tools = on(internet, max_characters=900)
    first = await fetch(tools, "http://owls.example/plain")
    assert first == "x" * 900 + "\n\n[Characters 0 to 900 of 953; for more, start at 900.]"
    assert await fetch(tools, "http://owls.example/plain", start=900) == "x" * 50 + "end"
    with pytest.raises(Retry, match="has 953 characters") as caught:
        await fetch(tools, "http://owls.example/plain", start=2000)
    assert caught.value.value == "start"


async def test_json_is_given_as_it_is_and_a_redirect_told(internet: Internet) -> None:
    said = await fetch(on(internet), "http://owls.example/to?url=/json")
    assert said == 'Address: http://owls.example/json\n\n{"a": [1, 2]}'


async def test_other_types_are_told_and_not_read(internet: Internet) -> None:
    with pytest.raises(ValueError, match=r"is video/mp4, 100 bytes; only text"):
        await fetch(on(internet), "http://owls.example/film")


async def test_an_error_of_the_server_is_told(internet: Internet) -> None:
    with pytest.raises(ValueError, match="answers 404: Gone"):
        await fetch(on(internet), "http://owls.example/nowhere")


@pytest.mark.parametrize(
    ("body", "told", "text"),
    [
        ("Müll".encode(), None, "Müll"),
        ("Müll".encode("cp1252"), None, "Müll"),
        ("Müll €".encode("cp1252"), "iso-8859-1", "Müll €"),
        (b"\xff\xfe" + "Müll".encode("utf-16-le"), "utf-8", "Müll"),
        ('<meta charset="koi8-r">сова'.encode("koi8-r"), None, '<meta charset="koi8-r">сова'),
        ("<?xml version='1.0' encoding='shift_jis'?>梟".encode("cp932"), None, None),
        (b"rot13", "rot13", "rot13"),
        (b"a-", "punycode", "a-"),
        (b"+AGE-", "utf-7", "+AGE-"),
        (b"sow" + b"\xc3", "utf-9", "sow"),
    ],
)
def test_the_character_set_is_the_one_that_is_said(
    body: bytes, told: str | None, text: str | None
) -> None:
    assert text_of(body, told) == (text or body.decode("cp932"))


# What it reaches


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[::1%25lo]",
        "127.0.0.1%00.owls.example",
        "127%2e0%2e0%2e1",
        "１２７。０。０。１",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.7",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
async def test_loopback_and_its_like_are_refused_however_they_are_written(
    host: str, victim: Site
) -> None:
    tools = web_toolset(WebConfig(ports=frozenset()))  # the system's resolver and sockets
    with pytest.raises(Retry) as caught:
        await fetch(tools, f"http://{host}:{victim.port}/")
    assert caught.value.value == "url"
    assert victim.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://owls.example@127.0.0.1:{port}/",
        "http://user:secret@owls.example/",
        "http://owls.example\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\.owls.example/",
        "http://owls.example#@127.0.0.1:{port}/",
        "http://owls.example?@127.0.0.1:{port}/",
        "http://\t127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "http:///127.0.0.1/",
        "http://owls..example/",
        "javascript:alert(1)",
        "http://" + "a" * 5000,
    ],
)
async def test_no_trick_of_spelling_leads_to_loopback(
    url: str, internet: Internet, victim: Site
) -> None:
    refused = False
    try:
        await fetch(on(internet, ports=[]), url.replace("{port}", str(victim.port)))
    except Retry:
        refused = True
    assert victim.requests == []
    assert refused or internet.connected == [PUBLIC]


@pytest.mark.parametrize("host", ["аpple.com", "xn--pple-43d.com", "gооgle.com", "xn--!.com"])
async def test_a_host_that_is_dressed_up_as_another_is_refused(
    host: str, internet: Internet
) -> None:
    with pytest.raises(Retry, match=r"mixes letters|no name|no URL"):
        await fetch(on(internet), f"http://{host}/")
    assert internet.asked == []


async def test_a_host_in_letters_of_its_own_is_no_disguise(internet: Internet) -> None:
    internet.names["xn--bcher-kva.example"] = internet.names["xn--wgv71a.example"] = [[PUBLIC]]
    assert "barn owl" in await fetch(on(internet), "http://bücher.example/")
    assert "barn owl" in await fetch(on(internet), "http://日本.example/")


async def test_a_resolver_that_changes_its_mind_gains_nothing(
    internet: Internet, site: Site, victim: Site
) -> None:
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    url = f"http://rebinding.example:{victim.port}/json"
    tools = on(internet, ports=[])
    assert await fetch(tools, url) == '{"a": [1, 2]}'
    assert internet.asked == ["rebinding.example"]  # once, and what it said was connected to
    assert internet.connected == [PUBLIC]
    with pytest.raises(Retry, match=r"loopback address 127\.0\.0\.1"):
        await fetch(tools, url)
    assert victim.requests == []
    assert site.requests[0].headers["host"] == f"rebinding.example:{victim.port}"


async def test_one_private_answer_among_public_ones_refuses_them_all(internet: Internet) -> None:
    internet.names["mixed.example"] = [[PUBLIC, OTHER, "10.0.0.1"]]
    with pytest.raises(Retry, match="private address"):
        await fetch(on(internet), "http://mixed.example/")
    assert internet.connected == []


async def test_the_next_address_is_tried_where_one_does_not_answer(internet: Internet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        internet.routes["93.184.215.1"] = closed.getsockname()[1]
    internet.names["two.example"] = [["93.184.215.1", OTHER]]
    assert "barn owl" in await fetch(on(internet), "http://two.example/")
    assert internet.connected == ["93.184.215.1", OTHER]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/",
        "//localhost:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://rebound.example:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://me:secret@owls.example/",
        "file:///etc/passwd",
        "http://owls.example/to?url=http://127.0.0.1:{port}/",
    ],
)
async def test_every_redirect_is_checked_again(
    target: str, internet: Internet, victim: Site
) -> None:
    internet.names["rebound.example"] = [["127.0.0.1"]]
    there = target.replace("{port}", str(victim.port))
    with pytest.raises(ValueError, match="it leads to"):
        await fetch(on(internet, ports=[]), f"http://owls.example/to?url={there}")
    assert victim.requests == []


async def test_redirects_end(internet: Internet, site: Site) -> None:
    with pytest.raises(ValueError, match="leads on more than 3 times"):
        await fetch(on(internet, max_redirects=3), "http://owls.example/round")
    assert len(site.requests) == 4


async def test_hosts_and_ports_are_those_of_the_configuration(internet: Internet) -> None:
    internet.names |= {"a.owls.example": [[PUBLIC]], "b.owls.example": [[PUBLIC]]}
    tools = on(internet, allow_hosts=["*.owls.example"], deny_hosts=["B.owls.example"])
    assert "barn owl" in await fetch(tools, "http://a.owls.example/")
    for refused in ("http://owls.example/", "http://B.owls.example./", "http://notowls.example/"):
        with pytest.raises(Retry, match="may not be reached"):
            await fetch(tools, refused)
    with pytest.raises(Retry, match="port 25 may not be reached; allowed: 80, 443"):
        await fetch(on(internet), "http://owls.example:25/")
    with pytest.raises(ValueError, match="may not be reached"):
        await fetch(tools, "http://a.owls.example/to?url=http://owls.example/")


async def test_a_rule_names_a_host_in_its_own_letters(internet: Internet) -> None:
    internet.names["xn--bcher-kva.example"] = [[PUBLIC]]
    page = "http://bücher.example/"
    assert "barn owl" in await fetch(on(internet, allow_hosts=["Bücher.example"]), page)
    for rules in ({"deny_hosts": ["*.example", "::1"]}, {"deny_hosts": ["xn--bcher-kva.example"]}):
        with pytest.raises(Retry, match="may not be reached"):
            await fetch(on(internet, **rules), page)


@pytest.mark.parametrize(
    "pattern", ["http://evil.example", "evil.example/", "a:80", "*", "a b", ""]
)
def test_a_rule_that_names_no_host_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="is no host; write it as"):
        WebConfig(deny_hosts=(pattern,))


async def test_private_networks_are_reached_where_that_is_allowed_but_no_metadata(
    site: Site,
) -> None:
    tools = web_toolset(WebConfig(allow_private=True, ports=frozenset()))
    assert "barn owl" in await fetch(tools, f"http://localhost:{site.port}/")
    rules = Rules(private=True)
    for refused in (
        *("169.254.169.254", "fd00:ec2::254", "fe80::1", "::ffff:169.254.169.254"),
        *("100.100.100.200", "64:ff9b::6464:64c8", "fd00:ec2::23"),
    ):
        with pytest.raises(Refused):
            rules.check_addresses("cloud.example", [ip_address(refused)])


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
        ("64:ff9b::808:808", None),  # how IPv6-only networks reach 8.8.8.8
        ("100.100.100.200", "a cloud's metadata"),
        ("168.63.129.16", "a cloud's metadata"),
        ("192.0.0.192", "reserved"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("2001:db8::1", "reserved"),
        ("4000::1", "reserved"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("240.0.0.1", "reserved"),
    ],
)
def test_what_sets_an_address_apart(address: str, kind: str | None) -> None:
    assert special(ip_address(address)) == kind


async def test_no_proxy_and_no_password_comes_from_the_environment(
    internet: Internet,
    site: Site,
    victim: Site,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine owls.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{victim.port}")
    await fetch(on(internet), "http://owls.example/cookie")
    await fetch(on(internet), "http://owls.example/cookie")
    assert victim.requests == []
    for request in site.requests:
        assert {"authorization", "cookie"}.isdisjoint(request.headers)


async def test_tls_is_for_the_host_and_not_for_its_address(site: Site, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("owls.example")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with hosted(site.app, certificate=str(tmp_path / "server.pem")) as port:
        internet = Internet(
            {"owls.example": [[PUBLIC]], "mice.example": [[PUBLIC]]}, {PUBLIC: port}
        )
        trusted = web_toolset(WebConfig(), requester=internet.requester(tls=trusting))
        assert "barn owl" in await fetch(trusted, "https://owls.example/")
        with pytest.raises(ValueError, match=r"(?i)certificate"):
            await fetch(trusted, "https://mice.example/")
        usual = web_toolset(WebConfig(), requester=internet.requester())
        with pytest.raises(ValueError, match=r"(?i)certificate"):
            await fetch(usual, "https://owls.example/")


# How much it takes


@pytest.mark.parametrize("path", ["endless", "bomb"])
async def test_a_page_without_end_is_cut(path: str, internet: Internet) -> None:
    tools = on(internet, max_bytes=5_000, max_characters=10_000)
    said = await fetch(tools, f"http://owls.example/{path}")
    assert len(said) < 5_100
    assert said.endswith("[The page goes on; only its first 5000 bytes were read.]")


async def test_a_bomb_is_not_unpacked_beyond_the_limit(internet: Internet) -> None:
    from agentkit_tools.internet.address import parsed

    reply = await internet.requester(limits=Limits(bytes=1000)).send(
        "GET", parsed("http://owls.example/bomb")
    )
    assert reply.cut
    assert reply.body == b"0" * 1000


def drip_head(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"H")
        time.sleep(0.02)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
    while True:
        connection.sendall(b".")
        time.sleep(0.02)


def drip_early(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.02)


def say_nothing(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize("server", [drip_head, drip_body, drip_early, say_nothing])
async def test_a_server_that_drips_is_left(server: Any) -> None:
    with answering(server) as port:
        internet = Internet({"slow.example": [[PUBLIC]]}, {PUBLIC: port})
        with pytest.raises(ValueError, match=r"took longer than 0\.3 seconds"):
            await fetch(on(internet, max_seconds=0.3), "http://slow.example/")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no proper answer"),
        (b"", "no proper answer"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-type: text/plain\r\n\r\nab",
            "no proper",
        ),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000 + b"\r\n\r\n", "no proper answer"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: br\r\n\r\nabc",
            "packed as 'br'",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\n\r\nabc",
            "no proper gzip",
        ),
        (b"HTTP/1.1 302 Found\r\nlocation: http://a:b/\r\n\r\n", "is no URL"),
    ],
)
async def test_what_is_no_proper_answer_is_told(answer: bytes, why: str) -> None:
    with answering(lambda connection: connection.sendall(answer)) as port:
        internet = Internet({"odd.example": [[PUBLIC]]}, {PUBLIC: port})
        with pytest.raises(ValueError, match=why):
            await fetch(on(internet), "http://odd.example/")


async def test_a_page_that_holds_its_parser_harms_nothing_else(internet: Internet) -> None:
    with pytest.raises(ValueError, match="took longer than 1 seconds"):
        await fetch(on(internet, max_seconds=1), "http://owls.example/deep")


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selectolax", None)
    with pytest.raises(PluginError, match=r"'agentkit-diffusion\[web\]'"):
        plugin.open(WebConfig())


def test_nothing_slow_is_imported_before_a_plugin_is_opened() -> None:
    seen = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, agentkit_tools.web, agentkit_tools.openapi\n"
            "print({'httpx2', 'httpcore2', 'yaml', 'selectolax', 'jsonschema'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout == "set()\n"


async def test_the_plugin_checks_itself_and_sends_nothing(internet: Internet) -> None:
    assert plugin.check is not None
    await plugin.check(on(internet))
    assert internet.connected == []
    with pytest.raises(PluginError, match="was not refused"):
        await plugin.check(Toolset("web", [unguarded]))


@tool(name="fetch")
async def unguarded(url: str) -> str:
    """Read any page.

    Args:
        url: The address.
    """
    return url
