"""A model hub of one's own on 127.0.0.1, in the protocol of the hub client, for HF_ENDPOINT."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0123456789abcdef" * 2 + "01234567"


class StubHub(ThreadingHTTPServer):
    """Serves `root`/<owner>/<name>/; `refuse` is the status for requests with (True) or without a token."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.refuse: dict[bool, int] = {}
        self.gated = False
        self.downloads: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubHub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if status := self.server.refuse.get("Authorization" in self.headers):
            return self.answer(status, **({"X-Error-Code": "GatedRepo"} if self.server.gated else {}))
        if path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/").partition("/revision/")[0]
            folder = self.server.root / name
            names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
            info = {"id": name, "sha": REVISION, "siblings": [{"rfilename": name} for name in names]}
            return self.answer(200 if names else 404, json.dumps(info).encode())
        name, _, file = path[1:].partition("/resolve/")
        found = self.server.root / name / file.partition("/")[2]
        if not found.is_file():
            return self.answer(404, **{"X-Error-Code": "EntryNotFound"})
        if self.command == "GET":
            self.server.downloads.append(found.name)
        content = found.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.answer(200, content, **{"ETag": tag, "X-Repo-Commit": REVISION})

    do_HEAD = do_GET

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def stub_hub(root: Path) -> Iterator[StubHub]:
    with StubHub(root) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
