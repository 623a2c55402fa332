"""HTTP APIs that an OpenAPI document describes: each operation is a tool.

config       here: the document, the operations that are offered, the secrets
document     text -> a checked OpenAPI 3.0 or 3.1 document, and what its references name
schema       the schemas in it -> plain JSON Schema
operation    its operations, as they are said
arguments    parameters and body -> one schema; arguments -> a request
serialising  how a parameter's value is written in its place
answer       a response -> what a model reads
toolset      all of it together

Knows OpenAPI. Nothing slow is imported before the plugin is opened.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agentkit import Plugin, PluginError, Toolset

if TYPE_CHECKING:
    from agentkit_tools.internet.requesting import Requester

__all__ = ["Method", "OpenApiConfig", "open_api", "plugin"]

Method: TypeAlias = Literal["get", "head", "options", "post", "put", "patch", "delete", "trace"]


class OpenApiConfig(BaseModel):
    """Which API, which of its operations, and how it is called.

    document: path or URL of the document, JSON or YAML; OpenAPI 3.0 or 3.1.
    name: the toolset's.
    server: the URL that operations are below; None: the first that the document names. Its host
        and port are all that is ever reached.
    variables: of the server's URL, where the defaults won't do.
    methods: operations of others are not offered.
    approval: whether each call that may change something (not GET or HEAD) waits for a human.
    tags, operations: only operations with one of these tags, or of these names; empty: all.
    secrets: for the document's security schemes, by name: an API key, a bearer or OAuth token,
        or "user:password". No model sees them.
    allow_private: whether the server may be in a private network or on this machine.
    max_seconds: for a whole call.
    max_bytes: of an answer, packed and unpacked.
    max_characters: of an answer as a model reads it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: str
    name: str = "api"
    server: str | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    methods: tuple[Method, ...] = ("get",)
    approval: bool = True
    tags: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    secrets: dict[str, SecretStr] = Field(default_factory=dict)
    allow_private: bool = False
    max_seconds: float = Field(default=20.0, gt=0)
    max_bytes: int = Field(default=1_000_000, gt=0)
    max_characters: int = Field(default=4_000, ge=200)


def open_api(
    config: OpenApiConfig, *, requester: Requester | None = None
) -> AbstractAsyncContextManager[Toolset]:
    """The operations as tools; `requester` takes the place of the one that is described.

    Raises:
        PluginError: what it needs is not installed; names the extra.
    """
    try:
        from agentkit_tools.openapi.toolset import opened
    except ImportError as error:
        raise PluginError(
            f"the tools of 'openapi' need {error.name!r}: pip install 'agentkit-diffusion[openapi]'"
        ) from error
    return opened(config, requester)


plugin = Plugin(
    "openapi",
    description="Calls the operations of an HTTP API that an OpenAPI document describes.",
    config=OpenApiConfig,
    open=open_api,
    permissions=(
        "reads the document",
        "sends requests to the API's own host and port, with the secrets it is given",
    ),
    explicit=True,  # without a document there is nothing to open
)
