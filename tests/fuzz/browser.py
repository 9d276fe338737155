"""The page in headless Chromium, whose decoder reads what is no WAV."""

import os
import shutil
import tempfile
import threading
from base64 import b64encode
from pathlib import Path
from unittest.mock import patch

from playwright.sync_api import Page, sync_playwright

from spoken_digits import serve

__all__ = ["Browser"]

MAX_MS = 30_000  # for a file, by the clock: the machine may be busy
_READ = Path(__file__).with_name("read.js").read_text()
_CODE = f"""
async ([address, encoded, maximum]) => {{
  const page = {{}};
  for (const name of ["files.js", "audio.js"]) Object.assign(page, await import(address + name));
  const read = {_READ.strip().split(chr(10), 1)[1].removesuffix(";")};
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const late = new Promise((resolve) => setTimeout(resolve, maximum, "too long"));
  return Promise.race([read(page, new File([bytes], "mine.bin")), late]);
}}"""


class Browser:
    """A page that is open in Chromium; `close` ends it, and the server of the page.

    To be made before memory is limited, which Chromium reserves more of than it uses.
    """

    def __init__(self) -> None:
        path = (
            os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        )
        self._server = serve.make_server()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._address = serve.page_address(self._server)
        self._folder = tempfile.TemporaryDirectory(
            dir="/tmp"
        )  # not where files left are looked for
        with patch.dict(os.environ, {"TMPDIR": self._folder.name}):
            self._driver = sync_playwright().start()
            self._chromium = self._driver.chromium.launch(
                executable_path=path, args=["--no-sandbox"]
            )
        self._page = self._open()

    def read(self, content: bytes) -> str:
        """Return what came of a file: "read", "refused", or what was wrong."""
        arguments = [self._address, b64encode(content).decode(), MAX_MS]
        try:
            said = str(self._page.evaluate(_CODE, arguments))
        except Exception:
            self._errors.clear()
            self._page = self._open()
            raise
        if self._errors:
            said = self._errors.pop(0)
            self._errors.clear()
        return said

    def close(self) -> None:
        """End the browser and the server."""
        self._chromium.close()
        self._driver.stop()
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def _open(self) -> Page:
        self._errors: list[str] = []
        page = self._chromium.new_page()
        page.on("pageerror", lambda error: self._errors.append(f"uncaught: {error}"))
        page.goto(self._address)
        return page
