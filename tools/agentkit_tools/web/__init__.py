"""Pages of the web, read as text: one tool, `fetch`.

config     here: what may be reached, and how much of it
toolset    the tool
charset    bytes -> text
page       HTML -> readable text, in a process of its own

Knows the web. Nothing slow is imported before the plugin is opened.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agentkit import Plugin, PluginError, Toolset

if TYPE_CHECKING:
    from agentkit_tools.internet.requesting import Requester

__all__ = ["WebConfig", "plugin", "web_toolset"]


def _host(pattern: str) -> str:
    # One that matches nothing would be no refusal where one was meant.
    if not re.fullmatch(r"(\*\.)?[^\s/@*:]+|[0-9a-f.]*(:[0-9a-f.]*){2,7}", pattern, re.IGNORECASE):
        raise ValueError(f"{pattern!r} is no host; write it as 'example.org' or '*.example.org'")
    return pattern


HostPattern: TypeAlias = Annotated[str, AfterValidator(_host)]


class WebConfig(BaseModel):
    """What `fetch` may reach, and how much of it.

    allow_hosts: hosts that may be reached, and no others; empty: all of the public internet.
        "*.example.org" is each host below that one.
    deny_hosts: hosts that may not be reached in any case.
    allow_private: whether loopback and private networks may be reached; link-local, metadata,
        multicast and reserved addresses never are.
    ports: that may be reached; empty: all.
    max_seconds: for a whole fetch: redirects, every byte and making it readable.
    max_bytes: of a page, packed and unpacked; what lies beyond is left out, and said.
    max_redirects: that are followed.
    max_characters: of text in one result; the rest is had by `start`.
    user_agent: how requests name themselves. `robots.txt` is for crawlers and not consulted: a
        call fetches one page, for one request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_hosts: tuple[HostPattern, ...] = ()
    deny_hosts: tuple[HostPattern, ...] = ()
    allow_private: bool = False
    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})
    max_seconds: float = Field(default=20.0, gt=0)
    max_bytes: int = Field(default=2_000_000, gt=0)
    max_redirects: int = Field(default=5, ge=0)
    max_characters: int = Field(default=8_000, gt=0)
    user_agent: str = "agentkit (one page for one request)"


def web_toolset(config: WebConfig, *, requester: Requester | None = None) -> Toolset:
    """The tool `fetch`; `requester` takes the place of the one that the configuration describes.

    Raises:
        PluginError: what it needs is not installed; names the extra.
    """
    for module in ("httpx2", "selectolax"):  # the second is for another process to import
        if find_spec(module) is None:
            raise PluginError(
                f"the tools of 'web' need {module!r}: pip install 'agentkit-diffusion[web]'"
            )
    from agentkit_tools.web.toolset import make_toolset

    return make_toolset(config, requester)


async def _check(toolset: Toolset) -> None:
    from agentkit_tools.web.toolset import check

    await check(toolset)


plugin = Plugin(
    "web",
    description="Reads pages of the web as text.",
    config=WebConfig,
    open=web_toolset,
    permissions=("sends GET requests to hosts of the public internet on ports 80, 443 and such",),
    check=_check,
    explicit=True,
)
