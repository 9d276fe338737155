"""The demo page, served to a browser on this machine, or copied to where any host serves it.

What is served is a fixed table of addresses, read once: no request can name another file.
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from spoken_digits.networks import SHIPPED_MODEL, SHIPPED_STRINGS

__all__ = [
    "CONTENT_POLICY",
    "PageError",
    "copy_page",
    "make_server",
    "page_address",
    "page_files",
    "serve",
]

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'"
)  # index.html says it as well, for hosts that send no headers

_PAGE = Path(__file__).parent / "page"
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm.gz")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gz": "application/gzip",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for anew by its ETag
    "Content-Security-Policy": f"{CONTENT_POLICY}; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A connection makes progress when a request is whole, or a piece of an answer has been sent. It is
# closed when it has made none for so long; of too many, the one that has made none for longest is.
_IDLE_S = 60.0
_MAX_CONNECTIONS = 400  # a thread and a file each, of 1,024 files that a process may have open
_BACKLOG = 128  # connections that the system holds for us meanwhile
_PIECE = 1 << 16  # bytes of an answer sent at once
_MAX_REQUEST = 1 << 15  # bytes of a request's first line and headers; browsers send 1,000


class PageError(ValueError):
    """A page that cannot be served or copied; the message says why, and the remedy."""


@dataclass(frozen=True)
class _Resource:
    body: bytes
    content_type: str
    etag: str


def page_files(model_path: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Where each file of the page lies, by its address relative to the page's folder.

    Parameters
    ----------
    model_path : path, optional
        An exported model for single digits; without it, the one that ships. For strings, the page
        uses the model that ships.

    Raises
    ------
    PageError
        When the runtime for browsers was not packed.
    """
    if not all((_PAGE / "runtime" / name).is_file() for name in _RUNTIME):
        raise PageError(
            "the page's runtime (onnxruntime-web) is not part of this installation: run "
            "`make web` in the source tree, which needs npm, and install from there"
        )
    files = {p.relative_to(_PAGE).as_posix(): p for p in sorted(_PAGE.rglob("*")) if p.is_file()}
    files["digits.onnx"] = SHIPPED_MODEL if model_path is None else Path(model_path)
    files["strings.onnx"] = SHIPPED_STRINGS
    return files


def copy_page(
    folder: str | os.PathLike[str], model_path: str | os.PathLike[str] | None = None
) -> Path:
    """Copy the page into a folder, new or empty, that any static host may serve; return its path.

    Raises
    ------
    PageError
        When the folder holds something, or the runtime is missing.
    """
    files, target = page_files(model_path), Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PageError(f"{target}: there is something; expected a new or an empty folder")
    for name, source in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    return target


def make_server(
    host: str = "127.0.0.1", port: int = 0, model_path: str | os.PathLike[str] | None = None
) -> ThreadingHTTPServer:
    """Bind a server of the page, not yet running; port 0 takes a free one.

    Raises
    ------
    PageError
        When the address cannot be had, or the runtime is missing.
    """
    table = _read_table(page_files(model_path))
    handler = type("_PageHandler", (_Handler,), {"table": table})
    try:
        return _Server((host, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PageError(
            f"{host}:{port}: {reason}; expected an address of this machine with a free port: "
            "name another, --port 0 takes any that is free"
        ) from None


def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    model_path: str | os.PathLike[str] | None = None,
    open_browser: bool = False,
    *,
    oh: bool = True,
) -> None:
    """Serve the page until Ctrl-C; print its address once it answers.

    Without `oh`, the address ends with ``?no-oh``, by which the page rejects "oh".

    Raises
    ------
    PageError
        As of `make_server`.
    """
    with make_server(host, port, model_path) as server:
        address = page_address(server) + ("" if oh else "?no-oh")
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def page_address(server: ThreadingHTTPServer) -> str:
    """Tell where a browser on this machine finds the page."""
    host, port = str(server.server_address[0]), server.server_address[1]
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _BACKLOG
    # Elsewhere than on POSIX, this would let two servers share a port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, *arguments: Any) -> None:
        self._progress: dict[socket.socket, float] = {}  # when a connection last made any
        super().__init__(*arguments)

    def note_progress(self, connection: socket.socket) -> None:
        """Remember that a connection made progress now, unless it has been closed."""
        if connection in self._progress:
            self._progress[connection] = time.monotonic()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own; close another one first, if need be."""
        if len(self._progress) >= _MAX_CONNECTIONS:
            self._hang_up(min(list(self._progress.items()), key=lambda item: item[1])[0])
        self._progress[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Close connections without progress; called at least twice a second."""
        since = time.monotonic() - _IDLE_S
        for connection in [each for each, at in list(self._progress.items()) if at < since]:
            self._hang_up(connection)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._progress.pop(request, None)
        super().shutdown_request(request)

    def _hang_up(self, connection: socket.socket) -> None:
        """Let the thread of a connection read its end, or fail to write."""
        self._progress.pop(connection, None)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a browser that went away in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _RequestReader:
    """Reads the lines of a request, and no more than `_MAX_REQUEST` bytes of each request."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.left = file, 0

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(min(limit, self.left + 1))
        self.left -= len(line)
        if self.left < 0:
            raise http.client.LineTooLong("request")
        return line

    def close(self) -> None:
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the addresses of `table`."""

    server: _Server
    table: Mapping[str, _Resource]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "spoken-digits", ""
    timeout = _IDLE_S  # of each reading and each piece written

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _RequestReader(self.rfile)

    def handle_one_request(self) -> None:
        """Answer one request, none that is longer than a browser's."""
        self.rfile.left = _MAX_REQUEST
        try:
            super().handle_one_request()
        except http.client.LineTooLong:  # in the first line; of headers, what is above tells
            self.requestline = self.request_version = self.command = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        self.server.note_progress(self.connection)
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what is sent after it is not read as another request
        try:
            resource = self.table.get(urlsplit(self.path).path)
        except ValueError:  # such as http://[
            resource = None
        if resource is None:
            self.send_error(HTTPStatus.NOT_FOUND, "The page has no such file")
            return
        if resource.etag in self.headers.get("If-None-Match", ""):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", resource.etag)
            self.end_headers()
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", resource.content_type)
        self.send_header("Content-Length", str(len(resource.body)))
        self.send_header("ETag", resource.etag)
        self.end_headers()
        if with_body:
            body = memoryview(resource.body)
            for start in range(0, len(body), _PIECE):
                self.wfile.write(body[start : start + _PIECE])
                self.server.note_progress(self.connection)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the only client is the user's own browser."""


def _read_table(files: Mapping[str, Path]) -> dict[str, _Resource]:
    table = {}
    for name, path in files.items():
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        table[f"/{name}"] = _Resource(body, _TYPES[path.suffix], etag)
    table["/"] = table["/index.html"]
    return table
