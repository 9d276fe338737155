"""The demo page, served to a browser on this machine, or copied to where any host serves it.

What is served is a fixed table of addresses, read once: no request can name another file.
"""

import hashlib
import os
import shutil
import sys
import threading
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
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
_IDLE_S = 60  # of a connection that asks for nothing


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
    # Elsewhere than on POSIX, this would let two servers share a port.
    allow_reuse_address = os.name == "posix"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a browser that went away in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the addresses of `table`."""

    table: Mapping[str, _Resource]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "spoken-digits", ""
    timeout = _IDLE_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        resource = self.table.get(urlsplit(self.path).path)
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
            self.wfile.write(resource.body)

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
