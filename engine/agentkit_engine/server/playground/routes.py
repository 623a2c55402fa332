"""The playground's routes: the page's files, and what it must know of the server.

Knows the files beside it and what the model offers. Must not know what the page does.

    GET /                   the page; needs no key
    GET /playground/{file}  its parts; they need none either
    GET /playground/about   the model's name, layouts and lengths; needs the key where there is one

The page loads nothing from elsewhere and runs no script that is not one of its files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agentkit_engine.server.transport.described import About, DescribedRoute
from agentkit_engine.server.transport.problems import Refused
from agentkit_engine.server.transport.service import Service, json_response

_PAGE = "page.html"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "cache-control": "no-cache",  # kept, but asked for anew: a page must fit its server
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A part of the page. tag: another one where its content is another."""

    kind: str
    content: bytes
    tag: str


def _read_files() -> dict[str, _File]:
    found: dict[str, _File] = {}
    for path in files("agentkit_engine.server.playground").iterdir():
        kind = _KINDS.get(path.name.rpartition(".")[2])
        if kind is not None:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[path.name] = _File(kind, content, tag)
    return found


class PlaygroundRoutes:
    """The page, for one service.

    Attributes:
        free: the paths that need no key.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._files = _read_files()
        self.free = frozenset({"/", *(f"/playground/{name}" for name in self._files)})

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            DescribedRoute("/", self._page, about=_about("The playground's page", "text/html")),
            DescribedRoute(
                "/playground/about",
                self._about,
                about=About(summary="What the page knows of the model", room="Playground"),
            ),
            DescribedRoute(
                "/playground/{name}",
                self._part,
                about=_about("A part of the page", "*/*", refuses=(404,)),
            ),
        ]

    async def _page(self, request: Request) -> Response:
        return _sent(request, self._files[_PAGE])

    async def _part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise Refused(404, "NoSuchRoute", f"the playground has no file {name!r}")
        return _sent(request, self._files[name])

    async def _about(self, _: Request) -> Response:
        runtime = self._service.engine.runtime
        causal = runtime.denoiser.causal
        about = {
            "model": self._service.model,
            "layouts": list(runtime.checkpoint.dialect.layouts),
            "verify": ["off", "rerank", "exact"] if causal else ["off"],
            "canvas_length": runtime.denoiser.canvas_length,
            "context_length": runtime.denoiser.context_length,
        }
        return json_response(200, about)


def _sent(request: Request, file: _File) -> Response:
    """A file, or that the client has it already."""
    headers = {**_HEADERS, "etag": file.tag}
    known = request.headers.get("if-none-match", "")
    if file.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)


def _about(summary: str, kind: str, *, refuses: tuple[int, ...] = ()) -> About:
    gives = {200: kind, 304: None}
    return About(summary=summary, room="Playground", gives=gives, refuses=refuses)
