"""The page's server: what it serves, what it refuses, how it begins and ends."""

import contextlib
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toy_model import write_toy_model

from spoken_digits import serve
from spoken_digits.cli import main
from spoken_digits.networks import SHIPPED_MODEL, SHIPPED_STRINGS
from spoken_digits.serve import (
    CONTENT_POLICY,
    PageError,
    copy_page,
    make_server,
    page_address,
    page_files,
)

PAGE = Path(serve.__file__).parent / "page"


@pytest.fixture(autouse=True)
def page(tmp_path, monkeypatch) -> Path:
    """The page's folder, with a runtime of the right names, so that no npm is needed here."""
    folder = tmp_path / "package" / "page"
    shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("runtime"))
    (folder / "runtime").mkdir()
    for name in serve._RUNTIME:
        (folder / "runtime" / name).write_bytes(name.encode())
    (folder.parent / "secret.css").write_text("secret")
    monkeypatch.setattr(serve, "_PAGE", folder)
    return folder


@pytest.fixture
def server():
    with make_server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path: str, method: str = "GET", **headers: str):
    connection = http.client.HTTPConnection(*server.server_address, timeout=5)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_every_file_is_served_with_its_type(server):
    types = {
        ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript",
        ".css": "text/css", ".svg": "image/svg+xml", ".gz": "application/gzip",
        ".onnx": "application/octet-stream",
    }  # fmt: skip
    files = page_files()
    assert {"index.html", "icon.svg", "digits.onnx", "runtime/ort.wasm.min.mjs"} <= set(files)
    for name, file in files.items():
        response, body = ask(server, f"/{name}")
        assert (response.status, body) == (200, file.read_bytes()), name
        assert response.headers["Content-Type"].split(";")[0] == types[file.suffix], name
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert files["digits.onnx"] == SHIPPED_MODEL
    assert files["strings.onnx"] == SHIPPED_STRINGS


def test_the_address_alone_is_the_page(server):
    response, body = ask(server, "/?from=a-link")
    assert body == (PAGE / "index.html").read_bytes()
    assert response.headers["Content-Security-Policy"].startswith(CONTENT_POLICY)
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


def test_what_the_browser_has_is_not_sent_again(server):
    etag = ask(server, "/digits.onnx")[0].headers["ETag"]
    response, body = ask(server, "/digits.onnx", **{"If-None-Match": etag})
    assert (response.status, body) == (304, b"")
    assert ask(server, "/page.js", **{"If-None-Match": etag})[0].status == 200


def test_head_is_get_without_the_body(server):
    response, body = ask(server, "/page.css", "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) == (PAGE / "page.css").stat().st_size


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.css", "/%2e%2e/secret.css", "/..%2fsecret.css", "/%2e%2e%2fsecret.css",
        "/runtime/../../secret.css", "/..%5csecret.css", "/%252e%252e/secret.css",
        "//etc/passwd", "/etc/passwd", "/runtime/", "/runtime", "/.",
        "/page.js%00.html", "secret.css",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server, path):
    response, body = ask(server, path)
    assert response.status == 404
    assert b"secret" not in body.replace(path.encode(), b"")


def say(server, *parts: bytes, timeout: float = 5) -> bytes:
    """Send parts, read until the server closes the connection."""
    with socket.create_connection(server.server_address, timeout) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # of what it did not read
            while piece := connection.recv(1 << 16):
                answer += piece
        return answer


def test_an_address_that_is_none_is_not_found_without_a_word(server, capsys):
    answer = say(server, b"GET http://[ HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        # Lines that are short enough, but too much in all.
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 20_000 + b"\r\nY: " + b"a" * 20_000, b"431"),
    ],
)
def test_a_request_longer_than_a_browsers_is_not_read(server, request_, status):
    assert say(server, request_).startswith(b"HTTP/1.1 " + status)


def test_every_request_of_a_connection_may_be_as_long(server):
    request = b"GET /icon.svg HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n"
    answer = say(server, 3 * (request + b"\r\n"), request + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 4


@pytest.mark.parametrize("header", [b"Content-Length: 31", b"Transfer-Encoding: chunked"])
def test_what_follows_a_request_with_a_body_is_not_another_request(server, header):
    body = b"GET /page.js HTTP/1.1\r\n\r\n"
    answer = say(server, b"GET /icon.svg HTTP/1.1\r\n" + header + b"\r\n\r\n" + body)
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 200 ") == 1


def test_a_connection_without_progress_is_closed(server, monkeypatch):
    monkeypatch.setattr(serve, "_IDLE_S", 0.2)
    with socket.create_connection(server.server_address, 5) as connection:
        for _ in range(40):  # a byte now and then is no progress
            try:
                connection.sendall(b"G")
                connection.settimeout(0.1)
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("it is still open after 4 s")


def test_a_slow_reader_is_sent_all_however_long_it_takes(server, monkeypatch):
    monkeypatch.setattr(serve, "_IDLE_S", 0.4)
    content = SHIPPED_STRINGS.read_bytes()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        connection.settimeout(5)
        connection.connect(server.server_address)
        connection.sendall(b"GET /strings.onnx HTTP/1.1\r\nConnection: close\r\n\r\n")
        begun, answer = time.monotonic(), bytearray()
        while piece := connection.recv(1 << 15):
            answer += piece
            # In all, longer than a connection without progress lasts; a part of it at a time.
            if len(answer) < 1_000_000:
                time.sleep(0.02)
        taken = time.monotonic() - begun
    assert answer.endswith(content)
    assert taken > 0.6


def test_where_there_are_too_many_the_one_longest_without_progress_is_closed(server, monkeypatch):
    monkeypatch.setattr(serve, "_MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(3):
            connection = http.client.HTTPConnection(*server.server_address, timeout=5)
            stack.callback(connection.close)
            connection.connect()
            held.append(connection)
            time.sleep(0.02)
        held[0].request("GET", "/icon.svg")  # so the second is now the longest without
        assert held[0].getresponse().read()
        assert ask(server, "/icon.svg")[0].status == 200
        assert held[1].sock.recv(1) == b""
        for connection in (held[0], held[2]):
            connection.request("GET", "/icon.svg")
            assert connection.getresponse().read()


def test_it_answers_no_one_but_who_asks_to_read(server):
    assert ask(server, "/", "POST")[0].status == 501
    assert ask(server, "/", "DELETE")[0].status == 501


def test_it_is_bound_to_this_machine(server):
    assert server.server_address[0] == "127.0.0.1"
    assert page_address(server) == f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_port_that_is_taken_is_named_with_a_remedy(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in message
    assert "--port 0" in message


@pytest.mark.parametrize("where", [{"port": 70_000}, {"host": "203.0.113.9"}])
def test_an_address_that_cannot_be_had_is_an_error(where):
    with pytest.raises(PageError, match="expected an address of this machine"):
        make_server(**where)


def test_without_the_runtime_it_says_how_to_get_it(page, capsys):
    shutil.rmtree(page / "runtime")
    assert main(["serve", "--port", "0"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "`make web`" in message


def test_a_file_that_is_no_model_is_told_before_serving(tmp_path, capsys):
    (tmp_path / "no.onnx").write_text("no")
    assert main(["serve", "--model", str(tmp_path / "no.onnx")]) == 1
    assert "expected an ONNX model" in capsys.readouterr().err


def test_the_page_can_be_copied_with_a_model(tmp_path, capsys):
    model, target = write_toy_model(tmp_path / "toy.onnx"), tmp_path / "site"
    assert main(["serve", "--copy", str(target), "--model", str(model)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    copied = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert copied == set(page_files())
    assert (target / "digits.onnx").read_bytes() == model.read_bytes()
    assert (target / "strings.onnx").read_bytes() == SHIPPED_STRINGS.read_bytes()


def test_a_copied_page_is_told_by_its_address_to_reject_oh(tmp_path, capsys):
    assert main(["serve", "--copy", str(tmp_path / "site"), "--no-oh"]) == 2
    assert "?no-oh" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_folder_that_holds_something_is_not_copied_to(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(PageError, match="empty folder"):
        copy_page(tmp_path)


def test_the_page_keeps_its_own_policy():
    html = (PAGE / "index.html").read_text()
    assert f'content="{CONTENT_POLICY}"' in html
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*src=)", html)
    for address in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert not re.match(r"/|\w+:", address), address  # relative: any folder of any host will do
        assert (PAGE / address).is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("options", [[], ["--no-oh"]])
def test_it_prints_its_address_and_ends_with_ctrl_c(options):
    runtime = PAGE / "runtime"
    if not runtime.is_dir():
        pytest.skip("needs the page's runtime: make web")
    process = subprocess.Popen(
        [sys.executable, "-m", "spoken_digits", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        host, port, end = re.match(r"http://(127\.0\.0\.1):(\d+)/(\S*) ", line).groups()
        assert end == ("?no-oh" if options else "")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", f"/{end}")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
