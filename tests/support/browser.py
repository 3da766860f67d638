"""Chromium, driven as a person would drive it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import uvicorn
from fastapi import FastAPI

CHROMIUM, DRIVER = "chromium", "chromedriver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WAIT_S = 30
# A file as if dragged from the desktop: drivers cannot drag what is outside the page.
DROP = """
const [content, name, type] = arguments;
const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
const held = new DataTransfer();
held.items.add(new File([bytes], name, { type }));
const target = document.getElementById("drop");
for (const kind of ["dragenter", "dragover", "drop"]) {
  const options = { dataTransfer: held, bubbles: true, cancelable: true };
  target.dispatchEvent(new DragEvent(kind, options));
}
"""


def chromium(profile: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> Any:
    """A browser with a profile of its own.

    Skips where there is none.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    programs = [shutil.which(name) for name in (CHROMIUM, DRIVER)]
    if not all(programs):
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(programs[1])
    driver = webdriver.Chrome(options=options, service=service)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    mobile = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", mobile)
    return driver


class Served:
    """An application on a port of its own, in a thread; a context manager."""

    def __init__(self, app: FastAPI) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        config = uvicorn.Config(app, port=port, log_level="error")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Self:
        self._thread.start()
        until = time.monotonic() + WAIT_S
        while not self._server.started:
            assert time.monotonic() < until
            time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_S)
