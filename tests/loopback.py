"""A server of one archive on the loopback interface, for tests of downloads."""

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclasses.dataclass
class Server:
    """What the loopback server answers with, and the ranges and paths that it was asked for.

    Asked for a whole address, it is a proxy that knows one archive.
    """

    content: bytes
    url: str = ""
    knows_ranges: bool = True
    sends_length: bool = True
    stop_after: int | None = None
    stall: bool = False
    pause_s: float = 0.0  # between two pieces of 16 KiB
    status: int = 200
    asked: list[str | None] = dataclasses.field(default_factory=list)
    paths: list[str] = dataclasses.field(default_factory=list)


@contextmanager
def serve(content: bytes, **behaviour) -> Iterator[Server]:
    state, done = Server(content, **behaviour), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked = self.headers["Range"]
            state.asked.append(asked)
            state.paths.append(self.path)
            self.close_connection = True
            start = int(asked[6:-1]) if asked and state.knows_ranges else 0
            size = len(state.content)
            if start and start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else state.status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if state.sends_length:
                self.send_header("Content-Length", str(size - start))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            body = state.content[start : state.stop_after]
            if not state.sends_length:
                body = b"%x\r\n" % (size - start) + body
                body += b"\r\n0\r\n\r\n" if state.stop_after is None else b""
            piece = 1 << 14 if state.pause_s else max(1, len(body))
            with contextlib.suppress(ConnectionError):  # who asked may be killed
                for position in range(0, len(body), piece):
                    self.wfile.write(body[position : position + piece])
                    done.wait(state.pause_s)
            if state.stall:
                self.wfile.flush()
                done.wait(10)

        def do_CONNECT(self):  # a proxy that lets no one through
            state.paths.append(self.path)
            self.send_error(403, "not allowed here")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/fsdd.tar.gz"
    try:
        yield state
    finally:
        done.set()
        server.shutdown()
        server.server_close()
