"""The tool `fetch`: a URL -> what the page says.

Knows requests and media types. Must not know how hosts are checked or HTML is read.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import cast

import anyio

from agentkit import PluginError, Retry, Toolset, tool
from agentkit_tools.internet.address import Refused, Rules, parsed
from agentkit_tools.internet.requesting import Limits, Reply, Requester
from agentkit_tools.web import WebConfig
from agentkit_tools.web.charset import text_of

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_TEXT = frozenset(
    {"application/json", "application/xml", "application/javascript", "application/yaml"}
)
# Of the environment, the process that parses a page is given what it needs to start.
_KEPT = ("SYSTEMROOT", "PYTHONPATH", "LD_LIBRARY_PATH")
_PAGE = Path(__file__).with_name("page.py")
_ACCEPTED = "text/html, application/xhtml+xml, text/*, application/json, application/xml;q=0.9"


def make_toolset(config: WebConfig, requester: Requester | None) -> Toolset:
    """The toolset of a configuration."""
    sender = requester or Requester(
        rules=rules_of(config), limits=limits_of(config), user_agent=config.user_agent
    )

    @tool(timeout=config.max_seconds + 5)
    async def fetch(url: str, start: int = 0, links: bool = False) -> str:
        """Read a page of the web as text.

        Args:
            url: The address, such as https://example.org/page.
            start: The character to start at, for more of a long page.
            links: Whether the addresses of links are shown.
        """
        try:
            with anyio.fail_after(config.max_seconds):
                return await _fetched(sender, config, url, max(start, 0), links)
        except TimeoutError:
            raise ValueError(
                f"{url} took longer than {config.max_seconds:g} seconds; try another page"
            ) from None

    return Toolset("web", [fetch])


async def check(toolset: Toolset) -> None:
    """See that HTML is read, and that a cloud's metadata is refused; nothing is sent.

    Raises:
        PluginError: one of them is not so.
    """
    title, text = await _page("<title>a</title><p>b", "http://localhost/", False)
    if (title, text) != ("a", "b"):
        raise PluginError(f"a page is read as {(title, text)!r}; reinstall the extra 'web'")
    try:
        await toolset.tools[0](url="http://169.254.169.254/")
    except Retry:
        return
    raise PluginError("http://169.254.169.254/ was not refused")


def rules_of(config: WebConfig) -> Rules:
    """What may be reached."""
    return Rules(
        allow=config.allow_hosts,
        deny=config.deny_hosts,
        private=config.allow_private,
        ports=config.ports or None,
    )


def limits_of(config: WebConfig) -> Limits:
    """How much is read, and for how long."""
    return Limits(
        seconds=config.max_seconds, bytes=config.max_bytes, redirects=config.max_redirects
    )


async def _fetched(sender: Requester, config: WebConfig, url: str, start: int, links: bool) -> str:
    try:
        target = parsed(url).copy_with(fragment=None)
        reply = await sender.send("GET", target, headers={"accept": _ACCEPTED}, wanted=_readable)
    except Refused as error:
        raise Retry(str(error), value="url") from error
    if not _readable(reply):
        size = reply.headers.get("content-length", "an unknown number of")
        kind = reply.media_type or "of no type"
        raise ValueError(
            f"{reply.url} is {kind}, {size} bytes; only text, HTML, JSON and XML can be read"
        )
    text = text_of(reply.body, reply.charset)
    title = ""
    if reply.media_type in _HTML:
        title, text = await _page(text, str(reply.url), links)
    if reply.status >= 400:
        raise ValueError(f"{reply.url} answers {reply.status}: {title or text[:200].strip()}")
    notes = [f"Address: {reply.url}"] if str(reply.url) != url else []
    notes += [f"Title: {title}"] if title else []
    return "\n".join([*notes, *([""] if notes else []), _part(text, start, reply, config)])


def _readable(reply: Reply) -> bool:
    kind = reply.media_type
    return kind.startswith("text/") or kind in _TEXT or kind.endswith(("+json", "+xml"))


def _part(text: str, start: int, reply: Reply, config: WebConfig) -> str:
    if start and start >= len(text):
        raise Retry(f"the page has {len(text)} characters; start below that", value="start")
    end = start + config.max_characters
    shown = text[start:end]
    if end < len(text):
        shown += f"\n\n[Characters {start} to {end} of {len(text)}; for more, start at {end}.]"
    elif reply.cut:
        shown += f"\n\n[The page goes on; only its first {config.max_bytes} bytes were read.]"
    return shown or "[The page has no text.]"


async def _page(html: str, base: str, links: bool) -> tuple[str, str]:
    # By its path and with -P: nothing in the working folder can be imported in its stead.
    command = [sys.executable, "-P", str(_PAGE), base, "links" if links else "plain"]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    done = await anyio.run_process(
        command,
        input=html.encode("utf-8", "replace"),
        stdout=PIPE,
        stderr=DEVNULL,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        raise ValueError(f"{base} is HTML that can't be read with little memory and time")
    title, text = cast("list[str]", json.loads(done.stdout))
    return title, text
