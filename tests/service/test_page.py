"""The page in a real browser: an image goes in, and what the network sees can be looked at."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import DROP, WAIT_S, Served, chromium
from support.small_artefacts import artefact
from support.stand_in import NAMES, Session, png

from hrvit_deploy.options import Task

FOLDER = Path(__file__).parents[2] / "examples" / "service"
sys.path.insert(0, str(FOLDER))

from app import ServiceOptions, create_app  # noqa: E402


class Page:
    """The page, open in a browser."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        driver.get(address)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> Any:
        """Press keys, wherever the focus is; what has it then."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()
        return self.driver.switch_to.active_element

    def texts(self, selector: str) -> list[str]:
        return [one.text for one in self.driver.find_elements("css selector", selector)]

    def wait(self, condition: str) -> Any:
        """Until that expression of JavaScript is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        script = f"return {condition}"
        return WebDriverWait(self.driver, WAIT_S).until(lambda d: d.execute_script(script))

    def drop(self, content: bytes, name: str = "scene.png", kind: str = "image/png") -> None:
        self.driver.execute_script(DROP, base64.b64encode(content).decode(), name, kind)

    def wait_for_answer(self, name: str = "scene.png") -> None:
        self.wait(f"document.getElementById('status').textContent.startsWith('{name}: ')")

    def pixel(self, across: float, down: float) -> list[int]:
        """Of the overlay, at those shares of it."""
        found: list[int] = self.driver.execute_script(
            "const c = document.getElementById('overlay');"
            "return [...c.getContext('2d').getImageData(c.width * arguments[0],"
            " c.height * arguments[1], 1, 1).data]",
            across,
            down,
        )
        return found

    def errors(self) -> list[str]:
        """What the browser's console complains of."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and "status of 4" not in entry["message"]
        ]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    opened = chromium(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.quit()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(artefact(tmp_path).manifest)


def test_an_image_that_is_dropped_is_seen_with_its_classes(
    driver: Any, session: Session
) -> None:
    with Served(create_app(session)) as served:
        page = Page(driver, served.address)
        page.wait("document.getElementById('model').textContent === 'HRViT-b1'")
        page.drop(png(2, 60, 80))
        page.wait_for_answer()

        assert page.texts("#legend .name") == ["background", "sky"]
        assert page.texts("#legend .share") == ["50.0 %", "50.0 %"]
        colour = session.classes.colours[NAMES.index("sky")]
        assert page.pixel(0.5, 0.25) == [*colour, 255]
        assert page.pixel(0.5, 0.75)[3] == 0
        assert page.find("#picture").get_property("naturalWidth") == 80
        assert page.find("#total").text.endswith(" ms")
        assert page.texts("#parts dt") == [
            "sent and read",
            "decoded",
            "waited",
            "network",
            "drawn",
        ]
        assert all(text.endswith(" ms") for text in page.texts("#parts dd"))
        assert not page.find("#error").is_displayed()
        assert page.errors() == []


def test_it_is_used_by_keyboard_alone(driver: Any, session: Session, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    (tmp_path / "photo.png").write_bytes(png(1, 60, 80))
    with Served(create_app(session)) as served:
        page = Page(driver, served.address)
        assert page.press(Keys.TAB).get_property("id") == "file"
        page.find("#file").send_keys(str(tmp_path / "photo.png"))
        page.wait_for_answer("photo.png")

        assert page.press(Keys.TAB).get_property("id") == "opacity"
        page.press(Keys.HOME)
        assert page.find("#overlay").value_of_css_property("opacity") == "0"
        page.press(Keys.END, Keys.TAB)
        # The first of the legend, the background: all else turns faint.
        assert page.press(Keys.ENTER).get_attribute("aria-pressed") == "true"
        assert page.pixel(0.5, 0.25)[3] < 100
        assert page.press(Keys.ENTER).get_attribute("aria-pressed") == "false"
        assert page.pixel(0.5, 0.25)[3] == 255
        assert page.errors() == []


def test_refusals_are_told_and_forgotten(driver: Any, session: Session) -> None:
    with Served(create_app(session, ServiceOptions(most_bytes=50_000))) as served:
        page = Page(driver, served.address)
        page.drop(b"no image", "broken.png")
        page.wait("!document.getElementById('error').hidden")
        assert "no image" in page.find("#error").text
        assert not page.find("#result").is_displayed()
        page.drop(os.urandom(60_000), "large.png")
        page.wait("document.getElementById('error').textContent.includes('MiB')")
        page.drop(b"text", "notes.txt", "text/plain")
        page.wait("document.getElementById('error').textContent.includes('notes.txt')")
        page.drop(png(1, 60, 80))
        page.wait_for_answer()
        assert not page.find("#error").is_displayed()


def test_a_classifier_shows_the_likeliest(driver: Any, tmp_path: Path) -> None:
    session = Session(artefact(tmp_path).manifest, Task.CLASSIFY)
    with Served(create_app(session)) as served:
        page = Page(driver, served.address)
        page.drop(png(3, 60, 80))
        page.wait_for_answer()
        assert page.texts("#legend .name")[0] == "tree"
        assert page.texts("#legend .share")[0] == "70.0 %"
        assert not page.find("#overlay").is_displayed()
        assert not page.find("#controls").is_displayed()
        assert page.errors() == []
