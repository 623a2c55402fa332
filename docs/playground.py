"""Draws playground.png: `python docs/playground.py`, where a Chromium and playwright are installed.

A server of the embedded model is asked for a call until it has been quick, and shown at the draft
in which most is still open to change.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

PICTURE = Path(__file__).with_name("playground.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RUNS = 8
DRAFTED = ".cells:visible .cell.draft"


@contextmanager
def serving() -> Generator[str]:
    """The address of a server, until the end of the block."""
    command = [sys.executable, "-m", "agentkit", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(
                found.group() for line in server.stderr if (found := re.search(r"http://\S+", line))
            )
        finally:
            server.terminate()


def run(page: Page) -> str:
    """What the model took."""
    page.locator("#said").evaluate("(said) => { said.textContent = '' }")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#said")).to_contain_text("Calls", timeout=30_000)
    return page.locator("#figures").inner_text()


def draw(page: Page) -> None:
    """The page at its best draft."""
    page.get_by_role("radio", name="default", exact=True).check()
    for _ in range(RUNS):
        print(run(page).replace("\n", " "))
    at, counts = page.locator("#at"), list[int]()
    for place in range(int(at.get_attribute("max") or 0) + 1):
        at.fill(str(place))
        counts.append(page.locator(DRAFTED).count())
    at.fill(str(counts.index(max(counts))))
    page.screenshot(path=PICTURE, full_page=True)


def main() -> None:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with serving() as url, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if sys.platform == "linux" else []  # it sees this server only
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        page = browser.new_page(
            viewport={"width": 1280, "height": 900}, reduced_motion="reduce", color_scheme="light"
        )
        page.goto(url)
        expect(page.locator("#about")).to_contain_text("canvas of")
        draw(page)
        browser.close()


if __name__ == "__main__":
    main()
