"""Download of archives: resumable, bounded in time, unpacked safely.

An archive is brought to disk and the wanted files are extracted from it; whether they are the ones
expected is checked by the caller.
"""

import gzip
import queue
import re
import shutil
import tarfile
import threading
import urllib.error
import urllib.request
import zlib
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath

__all__ = ["PATIENCE_S", "download", "unpack"]

PATIENCE_S = 8.0  # maximum wait for a first answer, and for the next bytes
BLOCK_BYTES = 1 << 18


def download(
    url: str, part: Path, *, patience_s: float = PATIENCE_S, progress: bool | None = None
) -> None:
    """Download `url` into the file `part`, resuming where an earlier attempt stopped.

    A server without byte ranges is read from the start. After a failure `part` keeps what has
    arrived, for the next attempt.

    Parameters
    ----------
    url : str
        Address, http or https.
    part : Path
        File to write; its folder is made when the first bytes arrive.
    patience_s : float
        Seconds without an answer (name resolution, connection and redirects together), or between
        two pieces of data, after which to give up.
    progress : bool or None
        Whether to draw a bar on standard error; None draws it on a terminal only.

    Raises
    ------
    OSError
        When there is no connection or no space, or the server refuses, stalls or breaks off.
    """
    from tqdm import tqdm

    held = part.stat().st_size if part.is_file() else 0
    try:
        response = _open(url, held, patience_s)
        if response is None:
            return
        with response:
            if response.status != HTTPStatus.PARTIAL_CONTENT:
                held = 0
            length = response.headers["Content-Length"]
            total = held + int(length) if length else None
            part.parent.mkdir(parents=True, exist_ok=True)
            with (
                part.open("ab" if held else "wb") as file,
                tqdm(
                    desc=part.stem,
                    initial=held,
                    total=total,
                    unit="B",
                    unit_scale=True,
                    disable=None if progress is None else not progress,
                ) as bar,
            ):
                while block := response.read1(BLOCK_BYTES):
                    file.write(block)
                    bar.update(len(block))
                received = file.tell()
    except HTTPException as error:
        raise ConnectionError(f"the connection broke off ({error!r})") from error
    if total is not None and received != total:
        raise ConnectionError(f"the connection broke off after {received:,} of {total:,} bytes")


def unpack(archive: Path, folder: Path, wanted: re.Pattern[str]) -> None:
    """Write the regular files of a tar archive whose names match `wanted` below `folder`.

    The first group of `wanted` is the path to write to: links, devices and any other path in the
    archive are ignored.

    Raises
    ------
    ValueError
        When the archive is damaged or truncated, or a path in it points outside.
    """
    try:
        with tarfile.open(archive) as members:
            for member in members:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise ValueError(f"{archive.name}: {member.name!r} points outside the archive")
                found = wanted.search(member.name) if member.isfile() else None
                source = members.extractfile(member) if found else None
                if found is None or source is None:
                    continue
                target = folder / found[1]
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{archive.name}: no whole tar archive ({error})") from error


def _open(url: str, held: int, patience_s: float) -> HTTPResponse | None:
    """Ask for the bytes of `url` from `held` on; None when there are no more."""
    headers = {"Range": f"bytes={held}-"} if held else {}
    try:
        response = _answer(urllib.request.Request(url, headers=headers), patience_s)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not held:
            raise
        if error.headers["Content-Range"] == f"bytes */{held}":
            return None
        return _open(url, 0, patience_s)
    begins = (response.headers["Content-Range"] or "").startswith(f"bytes {held}-")
    if held and response.status == HTTPStatus.PARTIAL_CONTENT and not begins:
        response.close()
        return _open(url, 0, patience_s)
    return response


def _answer(request: urllib.request.Request, patience_s: float) -> HTTPResponse:
    # In a thread, because name resolution and redirects are not bounded by the socket time-out.
    answers: queue.Queue[HTTPResponse | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=patience_s))
        except Exception as error:  # passed to the waiting thread
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=patience_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {patience_s:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
