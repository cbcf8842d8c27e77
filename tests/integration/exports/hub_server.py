"""A hub on this host: as much of its HTTP interface as huggingface_hub needs to make a data set and commit to it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class HubServer:
    """Data sets by name, each the bytes of its files; one token may write. Parquet goes by LFS, as on the hub."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[str] = []  # the summaries
        self.objects: dict[str, bytes] = {}
        self.refuse: dict[str, int] = {}  # a part of a path: the status that its requests get

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        for part, status in self.refuse.items():
            if part in path:
                return status, b'{"error": "the hub says no"}'
        if method == "PUT" and path.startswith("/store/"):
            self.objects[hashlib.sha256(body).hexdigest()] = body
            return 200, b"{}"
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, b"{}"
        _, *parts = path.removeprefix("/api").removesuffix(".git/info/lfs/objects/batch").split("/")
        kind, name = parts[0], "/".join(parts[1:3])
        assert kind == "datasets"
        if name not in self.files:
            return 404, b'{"error": "Repository not found"}'
        if path.endswith("/objects/batch"):
            return 200, json.dumps({"objects": [self._place(one) for one in json.loads(body)["objects"]]}).encode()
        match parts[3:]:
            case []:
                siblings = [{"rfilename": file} for file in sorted(self.files[name])]
                return 200, json.dumps({"id": name, "private": self.private[name], "siblings": siblings}).encode()
            case ["preupload", "main"]:
                asked = [file["path"] for file in json.loads(body)["files"]]
                modes = {file: "lfs" if file.endswith(".parquet") else "regular" for file in asked}
                listed = [{"path": file, "uploadMode": modes[file], "shouldIgnore": False} for file in asked]
                return 200, json.dumps({"files": listed}).encode()
            case ["commit", "main"]:
                return self._commit(name, [json.loads(line) for line in body.splitlines()])
            case ["resolve", "main", file]:
                return (200, self.files[name][file]) if file in self.files[name] else (404, b"")
        return 404, b""

    def _create(self, asked: dict[str, Any]) -> tuple[int, bytes]:
        name = f"{asked['organization']}/{asked['name']}"
        assert asked["type"] == "dataset"
        made = json.dumps({"url": f"{self.url}/datasets/{name}"}).encode()
        if name in self.files:
            return 409, made
        self.files[name] = {".gitattributes": b""}
        self.private[name] = asked.get("visibility") == "private" or asked.get("private") is True
        return 200, made

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        upload = {"upload": {"href": f"{self.url}/store/{asked['oid']}"}}
        return {"oid": asked["oid"], "size": asked["size"], "actions": upload}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, bytes]:
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.commits.append(value["summary"])
                case "file":
                    self.files[name][value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    self.files[name][value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    del self.files[name][value["path"]]
        commit = {"commitOid": "c" * 40, "commitUrl": f"{self.url}/datasets/{name}/commit/{'c' * 40}"}
        return 200, json.dumps(commit).encode()


@contextmanager
def hub_server(token: str) -> Iterator[HubServer]:
    """It listens for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            body = self._body()
            path = urlsplit(self.path).path
            known = self.headers.get("Authorization") == f"Bearer {token}" or path.startswith("/store/")
            status, said = hub.answer(self.command, path, body) if known else (401, b'{"error": "Invalid credentials"}')
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.send_header("ETag", f'"{hashlib.sha256(said).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_HEAD = do_POST = do_PUT = _reply

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = HubServer(f"http://127.0.0.1:{server.server_port}", token)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
