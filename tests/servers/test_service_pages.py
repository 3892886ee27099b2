"""The pages for people and monitors: HEAD as well as GET, and documentation that needs no internet."""

import html
import re
import shlex
import shutil
import subprocess

import httpx
import pytest

PAGES = ["/", "/health", "/ready", "/metrics", "/docs", "/openapi.json", "/languages", "/info"]
PAGES += ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/sentiment", "/v2/models/sentiment/config"]


@pytest.mark.parametrize("path", PAGES)
def test_head_is_answered_as_get_without_the_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code and head.status_code < 400
    assert head.content == b"" and head.headers["content-type" if get.content else "location"]
    assert {*head.headers} == {*get.headers}
    assert client.get("/health").json() == {"status": "alive"}, "the connection is still in step"


def test_head_of_a_route_without_get_is_refused(client: httpx.Client) -> None:
    assert client.head("/translate").status_code == 405
    assert client.head("/nowhere").status_code == 404


def test_the_docs_need_nothing_from_the_internet(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", page.text), (
        "it loads from another host"
    )
    assert "<script" not in page.text
    document = client.get("/openapi.json").json()
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids))
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<h2>{method.upper()} {path}</h2>" in page.text
    assert client.get("/redoc").status_code == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_examples_of_the_docs_work(client: httpx.Client) -> None:
    page = client.get("/docs").text
    commands = [html.unescape(command) for command in re.findall("<pre>(.*)</pre>", page)]
    assert len(commands) == len(client.get("/openapi.json").json()["paths"])
    for command in commands:
        ended = subprocess.run([*shlex.split(command), "-sf"], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0 and ended.stdout, command


def test_the_docs_escape_what_a_client_says(client: httpx.Client) -> None:
    page = client.get("/docs", headers={"Host": "a.b&<script>"}).text
    assert "<script" not in page
