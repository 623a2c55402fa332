"""The playground as visitors have it: a browser, a page in it, and what is on the page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PATIENCE = 20_000  # milliseconds that a loaded machine may take for what takes one second
STATES = ("pinned", "settled", "draft", "noise")
_NAMES = ("chromium", "chromium-browser", "google-chrome")

expect.set_options(timeout=PATIENCE)


@contextmanager
def browsing() -> Generator[Browser]:
    """The browser of this machine; a test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on the path")
    options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


class Visit:
    """A page that is open.

    Attributes:
        wrong: errors and warnings that its scripts made.
        asked: the addresses of all its requests.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on(
            "console",
            lambda told: (
                self.wrong.append(told.text) if told.type in ("error", "warning") else None
            ),
        )
        self.page.goto(url)

    def connected(self) -> Visit:
        """Once it knows the server."""
        expect(self.page.locator("#about")).to_contain_text("canvas of")
        return self

    def choose(self, *names: str) -> None:
        """Radio buttons, by their labels."""
        for name in names:
            self.page.get_by_role("radio", name=name, exact=True).check()

    def run(self) -> None:
        """Runs what is asked; back when its drafts have been played."""
        self.page.get_by_role("button", name="Run").click()
        self.played()

    def played(self) -> None:
        """Once there is a result and the drafts have been played."""
        heading = self.page.get_by_role("heading", name="Result")
        expect(heading).to_be_visible(timeout=PATIENCE)
        expect(self.page.locator("#run")).to_have_text("Run")
        expect(self.page.locator("#play")).to_have_text("Play")

    def compare(self) -> None:
        """Compares; back when all have been run."""
        self.page.get_by_role("button", name="Compare").click()
        said = self.page.locator("#compared-what")
        expect(said).to_contain_text("say the same", timeout=3 * PATIENCE)

    def states(self) -> list[str]:
        """Of all cells of the canvas that are shown."""
        found: list[str] = self.page.evaluate(
            "() => [...document.querySelectorAll('.cells .cell')]"
            ".filter((one) => one.checkVisibility()).map((one) => one.classList[1])"
        )
        return found

    def shown(self) -> tuple[str, Any]:
        """The tool, empty where there is none, and the value that are shown."""
        text = self.page.locator("#value").inner_text()
        tool, _, value = ("", "", text) if text.startswith("{") else text.partition("\n")
        return tool, json.loads(value)

    def offered(self) -> Any:
        """The tools or the schema of the form."""
        return json.loads(self.page.locator("#schema").input_value())

    def request(self) -> str:
        """The request of the form."""
        return self.page.locator("#request").input_value()

    def nameless(self) -> list[str]:
        """What has no name for those who listen."""
        return list(self.page.evaluate(_NAMELESS))

    def dangling(self) -> list[str]:
        """Ids that labels and descriptions speak of and that are not there."""
        return list(self.page.evaluate(_DANGLING))

    def contrasts(self) -> list[tuple[str, float]]:
        """Every element that shows text, with the contrast of that (WCAG 2)."""
        return [(name, ratio) for name, ratio in self.page.evaluate(_CONTRASTS)]


@contextmanager
def visiting(browser: Browser, url: str, **options: Any) -> Generator[Visit]:
    """The page once it knows the server; no script of it fails, and it asks nobody else."""
    visit = Visit(browser, url, **options).connected()
    yield visit
    visit.context.close()
    assert visit.wrong == []
    assert {asked for asked in visit.asked if not asked.startswith(url)} == set()


_NAMELESS = """() => {
  const labels = (one) => [...(one.labels ?? [])].map((label) => label.textContent).join('');
  const inside = (one) => /^(BUTTON|SUMMARY|A)$/.test(one.tagName) ? one.textContent : '';
  const other = (one) => document.getElementById(one.getAttribute('aria-labelledby'))?.textContent;
  const name = (one) => one.getAttribute('aria-label') || labels(one) || inside(one) || other(one);
  const named = 'button, input, textarea, summary, section, form, [role=img], [role=meter]';
  return [...document.querySelectorAll(`${named}, [tabindex]`)]
    .filter((one) => !name(one)?.trim()).map((one) => one.outerHTML);
}"""
_DANGLING = """() => {
  const names = ['aria-describedby', 'aria-labelledby', 'for'];
  return names.flatMap((name) => [...document.querySelectorAll(`[${name}]`)]
    .flatMap((one) => one.getAttribute(name).split(' ')))
    .filter((id) => !document.getElementById(id));
}"""
_CONTRASTS = """() => {
  const read = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part <= 10.02 ? part / 3294.6 : ((part / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const ground = (one) => {
    if (!one) return [255, 255, 255];
    const found = read(getComputedStyle(one).backgroundColor);
    return found[3] === 0 ? ground(one.parentElement) : found;
  };
  const ratio = (one) => {
    const [a, b] = [light(read(getComputedStyle(one).color)), light(ground(one))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  };
  const says = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll('body *')]
    .filter((one) => says(one) && one.checkVisibility() && !one.disabled)
    .map((one) => [`${one.tagName}.${one.className}`, ratio(one)]);
}"""
