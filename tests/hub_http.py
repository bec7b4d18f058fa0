"""The two hosts of the hub that tests use: what huggingface.co answers, and where its big files lie."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from hub_server import Blob, Fault, HubServer, Repo, Where

PATIENCE = 30
"""Seconds after which a held answer goes on by itself, so that a broken test ends."""


class Host(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 32

    def __init__(self, hub: HubServer, handler: type[Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self._open):  # idle ones would wait for the client for ever
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            self.hub.problems.append(error)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    where: Where
    server: Host
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    @property
    def hub(self) -> HubServer:
        return self.server.hub

    def begin(self, where: Where, file: str) -> Fault | None:
        """Note the request; return its fault, or None when that has answered it already."""
        self.note = self.hub.note(where, self, file)
        fault = self.hub.fault_for(where, file, self.command)
        if fault.status is not None:
            self.refuse(fault.status, "injected", fault.headers)
            return None
        return fault

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.note.status = status
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, message: str, headers: dict[str, str]) -> None:
        body = json.dumps({"error": message}).encode()
        self.answer(status, {"Content-Type": "application/json", "X-Error-Message": message} | headers, body)

    def answer_json(self, value: Any) -> None:
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def answer_file(self, blob: Blob, headers: dict[str, str], fault: Fault) -> None:
        """Answer with the file or the range that was asked for, as the fault allows."""
        size = blob.size if fault.shorter is None else fault.shorter
        start, stop, asked = 0, size, self.headers.get("Range")
        if asked and not fault.ignore_range:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(size, int(last) + 1 if last else size)
            if start >= size:
                return self.answer(416, {"Content-Range": f"bytes */{size}"})
            headers = headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        status = 206 if "Content-Range" in headers else 200
        self.note.status = status
        self.send_response(status)
        for name, value in ({"Content-Length": str(stop - start), "Accept-Ranges": "bytes"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send(blob, start, stop, fault)
        return None

    def _send(self, blob: Blob, start: int, stop: int, fault: Fault) -> None:
        limits = sorted({limit for limit in (fault.hold_after, fault.cut_after) if limit is not None})
        borders = [start, *(min(start + limit, stop) for limit in limits), stop]
        for first, last in pairwise(borders):
            at = first
            for piece in blob.read(first, last):
                self._write(piece, at, fault)
                at += len(piece)
            if fault.hold_after is not None and last == start + fault.hold_after:
                self.hub.held.set()
                self.hub.release.wait(PATIENCE)
            if fault.cut_after is not None and last >= min(start + fault.cut_after, stop):
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return

    def _write(self, piece: bytes, at: int, fault: Fault) -> None:
        if fault.flip is not None and at <= fault.flip < at + len(piece):
            place = fault.flip - at
            piece = piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
        self.note.sent += len(piece)  # before it is: who has read the answer may look at the count at once
        try:
            self.wfile.write(piece)
        except OSError:
            self.note.sent -= len(piece)
            raise
        if fault.rate is not None:
            time.sleep(len(piece) / fault.rate)


class StorageHandler(Handler):
    """Where big files lie: /OWNER/NAME/SHA256/FILE."""

    def do_GET(self) -> None:
        _, owner, name, sha256, file = unquote(urlsplit(self.path).path).split("/", 4)
        fault = self.begin("storage", file)
        if fault is None:
            return None
        if "Authorization" in self.headers:  # as S3 does; and a token that leaks is noticed
            return self.refuse(400, "Only one auth mechanism allowed", {})
        commits = self.hub.repos[f"{owner}/{name}"].commits.values()
        blob = next(each for files in commits for each in files.values() if each.sha256 == sha256)
        etag = hashlib.md5(blob.sha256.encode()).hexdigest()
        return self.answer_file(blob, {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}, fault)

    do_HEAD = do_GET  # noqa: N815


class HubHandler(Handler):
    """What huggingface.co answers: /OWNER/NAME/resolve/REVISION/FILE, and the part of /api that clients need."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[0] == "api":
            if self.begin("api", "") is not None:
                self._api("/".join(parts[2:4]), parts[4:], body)
        else:
            file = "/".join(parts[4:])
            fault = self.begin("resolve", file)
            if fault is not None:
                self._resolve("/".join(parts[:2]), unquote(parts[3]), file, fault)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _open(self, name: str, revision: str) -> tuple[Repo, str] | None:
        """Return the repository and the commit, or None after having refused."""
        repo = self.hub.repos.get(name)
        bearer = self.headers.get("Authorization")
        if repo is None:  # the real hub does not tell strangers what does not exist
            self.refuse(404 if bearer else 401, "Repository not found", {"X-Error-Code": "RepoNotFound"})
            return None
        commit = repo.commit(revision)
        if commit is None:
            self.refuse(404, f"Invalid rev id: {revision}", {"X-Error-Code": "RevisionNotFound"})
            return None
        return repo, commit

    def _resolve(self, name: str, revision: str, file: str, fault: Fault) -> None:
        opened = self._open(name, revision)
        if opened is None:
            return None
        repo, commit = opened
        bearer = self.headers.get("Authorization")
        if repo.closed and bearer != f"Bearer {repo.closed}":
            words = f"Access to model {name} is restricted. You must have access to it and be authenticated."
            return self.refuse(403 if bearer else 401, words, {"X-Error-Code": "GatedRepo"})
        blob = repo.commits[commit].get(file)
        if blob is None:
            return self.refuse(404, "Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.etag}"'}
        if not blob.lfs:
            return self.answer_file(blob, headers, fault)
        location = f"{self.hub.storage}/{name}/{blob.sha256}/{file}?X-Signature=once"
        linked = {"X-Linked-Size": str(blob.size), "X-Linked-Etag": f'"{blob.sha256}"', "Location": location}
        if blob.xet:
            route = f"{self.hub.endpoint}/api/models/{name}/xet-read-token/{commit}"
            linked |= {"X-Xet-Hash": blob.sha256, "X-Xet-Refresh-Route": route}
        return self.answer(302, headers | linked, b"Found. Redirecting")

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        opened = self._open(name, rest[1] if len(rest) > 1 else "main")
        if opened is None:
            return None
        repo, commit = opened
        files = repo.commits[commit]
        match rest[:1]:
            case [] | ["revision"]:
                return self.answer_json(_model(name, repo, commit))
            case ["paths-info"]:
                asked = json.loads(body)["paths"] if body[:1] == b"{" else _form(body)
                return self.answer_json([_entry(path, files[path]) for path in asked if path in files])
            case ["tree"]:
                return self.answer_json([_entry(path, blob) for path, blob in files.items()])
        return self.refuse(404, "Not found", {})


def _model(name: str, repo: Repo, commit: str) -> dict[str, Any]:
    card = {} if repo.license is None else {"license": repo.license}
    return {
        "_id": commit[:24],
        "id": name,
        "modelId": name,
        "sha": commit,
        "private": False,
        "gated": "auto" if repo.closed else False,
        "tags": ["gguf", *(f"license:{value}" for value in card.values())],
        "cardData": card,
        "siblings": [{"rfilename": path} for path in repo.commits[commit]],
    }


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": blob.size, "oid": blob.sha256[:40]}
    return entry | ({"lfs": {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}} if blob.lfs else {})


def _form(body: bytes) -> list[str]:
    pairs = (pair.partition("=") for pair in unquote(body.decode().replace("+", " ")).split("&"))
    return [value for key, _, value in pairs if key == "paths"]
