"""A model hub on this machine: as much of its protocol as pushing and fetching a repository takes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories by name: their commits, each all files by path.

    Attributes:
        commits: by repository, then by hash, in their order.
        stored: contents by SHA-256, of large files that came before their commit.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.stored: dict[str, bytes] = {}

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """All files of a repository at a commit, or at the newest."""
        commits = self.commits[name]
        return commits[revision] if revision in commits else next(reversed(commits.values()))

    def commit(self, name: str, lines: list[dict[str, Any]]) -> str:
        """Add a commit of these operations."""
        files = dict(self.files(name))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        described = repr(sorted(files.items())) + str(len(self.commits[name]))
        revision = hashlib.sha1(described.encode()).hexdigest()
        self.commits[name][revision] = files
        return revision


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        path, body = self._path(), self._body()
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.hub.commits:
                return self._json({"error": "exists", "url": f"{self._address()}/{name}"}, 409)
            self.hub.commits[name] = {"0" * 40: {}}
            return self._json({"url": f"{self._address()}/{name}"})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self._address()}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        if "/preupload/" in path:
            files = [
                {"path": one["path"], "uploadMode": self._mode(one["path"]), "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if "/commit/" in path:
            name = path.removeprefix("/api/models/").split("/commit/")[0]
            revision = self.hub.commit(name, [json.loads(line) for line in body.splitlines()])
            return self._json({"commitUrl": f"{self._address()}/{name}/commit/{revision}", "commitOid": revision})
        return self._json({"errors": [], "warnings": []})  # the head of a model card is valid

    def do_PUT(self) -> None:
        body = self._body()
        self.hub.stored[hashlib.sha256(body).hexdigest()] = body
        self._answer(b"")

    def do_GET(self) -> None:
        path = self._path()
        if path.startswith("/api/models/"):
            name, *rest = path.removeprefix("/api/models/").split("/tree/")
            name, *of_revision = name.split("/revision/")
            revision = (rest or of_revision or ["main"])[0]
            if name not in self.hub.commits:
                return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            files = self.hub.files(name, revision)
            if rest:
                return self._json([self._entry(path, content) for path, content in files.items()])
            sha = revision if revision in self.hub.commits[name] else next(reversed(self.hub.commits[name]))
            return self._json({"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in files]})
        name, _, rest = path[1:].partition("/resolve/")
        revision, _, file = rest.partition("/")
        content = self.hub.files(name, revision)[file]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._answer(content, headers={"ETag": etag, "X-Repo-Commit": revision})

    do_HEAD = do_GET  # noqa: N815 (what the server calls)

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": digest[:40]}
        if self._mode(path) == "lfs":
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
        return entry

    @staticmethod
    def _mode(path: str) -> str:
        return "lfs" if path.endswith((".safetensors", ".parquet")) else "regular"

    def _address(self) -> str:
        return f"http://{self.headers['Host']}"

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@contextmanager
def running_hub() -> Iterator[tuple[Hub, str]]:
    """A hub without repositories, and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
