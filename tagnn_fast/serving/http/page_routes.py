"""The page for people: files of this package, and what a browser may do with them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Scripts, styles and requests of this origin alone; titles cannot become markup, nor the page part of another.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, type and tag of each file, by name."""
    files = {}
    for path in _FOLDER.iterdir():
        content = path.read_bytes()
        files[path.name] = content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return files


async def page(request: Request) -> Response:
    """``GET /``."""
    return _answer(request, "index.html")


async def page_file(request: Request) -> Response:
    """``GET /page/{name}``."""
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    if name not in _files():
        raise HTTPException(404)
    content, kind, tag = _files()[name]
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "ETag": tag,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": kind})


ROUTES = [Route("/", page), Route("/page/{name}", page_file)]
