"""The console's files: read once, served from memory, revalidated by content hash.

A page is plain HTML, CSS and JavaScript modules in `proxy/controller/console/`; there is no build step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from proxy.controller.admin.callers import open_to_all

FOLDER = Path(__file__).parent.parent / "console"

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
"""Only files of these kinds are served."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: bytes, content type, and an entity tag of its content."""

    body: bytes
    content_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> File:
        """The file at `path`."""
        body = path.read_bytes()
        return cls(body, TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:16])


class Console:
    """All files by their path below the folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in TYPES)
        self._files = {path.relative_to(folder).as_posix(): File.read(path) for path in found}

    @property
    def routes(self) -> list[web.RouteDef]:
        """`/` and `/console/…`."""
        return [web.get("/", self._page), web.get("/console/{path:.+}", self._asset)]

    @open_to_all
    async def _page(self, request: web.Request) -> web.Response:
        return self._answer(request, "index.html")

    @open_to_all
    async def _asset(self, request: web.Request) -> web.Response:
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, name: str) -> web.Response:
        file = self._files.get(name)  # a dictionary, not the disk: there is no path to climb out of
        if file is None:
            raise web.HTTPNotFound
        headers = {"cache-control": "no-cache", "etag": f'"{file.etag}"'}
        if any(tag.value == file.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        response = web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)
        response.enable_compression()
        return response
