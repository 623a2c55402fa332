"""The playground for everyone: by keyboard, by ear, in the dark, on a phone, without motion."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from browsing import STATES, Visit
from playwright.sync_api import Browser, expect
from serving import Served

NARROW = {"width": 320, "height": 640}


pytest_plugins = ["playground_fixtures"]


def test_all_can_be_done_by_keyboard(visit: Visit) -> None:
    page, reached = visit.page, list[str]()
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "() => { const it = document.activeElement;"
            " const look = getComputedStyle(it.matches('.segments input') ? it.nextSibling : it);"
            " return [it.id || it.name || it.tagName, look.outlineStyle, look.outlineWidth]; }"
        )
        if where[0] == "BODY":
            break
        assert where[1:] == ["solid", "2px"], where  # the focus is seen
        reached.append(where[0])
        match where[0]:
            case "request":
                page.keyboard.press("ControlOrMeta+a")
                page.keyboard.type("Cancel the meeting QX-7731")
            case "verify":
                page.keyboard.press("ArrowRight")
            case "run":
                page.keyboard.press("Enter")
                visit.played()
            case _:
                pass
    order = ["SUMMARY", "example", "request", "steps", "layout", "verify", "seed", "run", "compare"]
    assert [name for name in reached if name in order and name != "SUMMARY"] == order[1:]
    assert {"play", "at", "copy-curl", "copy-python", "value"} <= set(reached)
    expect(page.get_by_role("radio", name="off", exact=True)).to_be_checked()
    expect(page.locator("#value")).to_contain_text("QX-7731")
    page.locator("#request").press("ControlOrMeta+Enter")
    expect(page.locator("#run")).to_have_text("Stop")
    visit.played()


def test_whoever_listens_is_told_what_there_is(visit: Visit) -> None:
    visit.run()
    visit.compare()
    page = visit.page
    assert visit.nameless() == []
    assert visit.dangling() == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3')].map((one) => +one.tagName[1])"
    )
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for place in ("main", "form", "status", "alert", "banner"):
        assert page.get_by_role(place).count() == 1, place
    groups = page.get_by_role("group")
    assert groups.get_by_role("radio").count() == page.get_by_role("radio").count()
    row = page.locator(".cells:visible").last
    assert re.match(r"\d+ settled.*Reads: ", row.get_attribute("aria-label") or "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_states_are_legible_and_told_apart_without_colour(
    browser: Browser, playground: Served, scheme: Any
) -> None:
    visit = Visit(browser, playground.url, color_scheme=scheme).connected()
    visit.choose("off")
    visit.run()
    visit.page.locator("#at").press("Home")
    visit.page.locator("#at").press("ArrowRight")
    visit.page.wait_for_timeout(300)  # until colours have faded over
    contrasts = visit.contrasts()
    assert [(name, ratio) for name, ratio in contrasts if ratio < 4.5] == []
    names = {state for name, _ in contrasts for state in STATES if f"cell {state}" in name}
    assert names == set(STATES)
    looks = {
        state: tuple(
            visit.page.locator(f".legend .cell.{state}").evaluate(
                "(one) => { const look = getComputedStyle(one);"
                " return [look.borderBottomStyle, look.borderBottomColor, look.fontStyle]; }"
            )
        )
        for state in STATES
    }
    assert {look[0] for look in looks.values()} == {"solid", "dashed", "dotted"}
    assert looks["draft"][2] == "italic"
    assert looks["pinned"][1] == "rgba(0, 0, 0, 0)"  # no line at all
    assert looks["settled"][1] != "rgba(0, 0, 0, 0)"
    dark = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", dark)[0]) < 128) == (scheme == "dark")
    visit.context.close()


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, playground: Served) -> None:
    visit = Visit(
        browser, playground.url, viewport=NARROW, is_mobile=True, reduced_motion="reduce"
    ).connected()
    wide = "() => document.documentElement.scrollWidth"
    assert visit.page.evaluate(wide) <= NARROW["width"]
    visit.choose("Travel", "float")
    visit.run()
    visit.compare()
    visit.page.get_by_role("button", name="Copy as curl").click()
    visit.page.locator("details").evaluate_all("(all) => all.forEach((one) => one.open = true)")
    assert visit.page.evaluate(wide) <= NARROW["width"]
    visit.context.close()


def test_who_wants_no_motion_sees_the_end_and_plays_if_asked(
    browser: Browser, playground: Served
) -> None:
    visit = Visit(browser, playground.url, reduced_motion="reduce").connected()
    visit.choose("off")
    visit.page.get_by_role("button", name="Run").click()
    expect(visit.page.locator("#result")).to_be_visible()
    expect(visit.page.locator("#play")).to_have_text("Play")
    expect(visit.page.locator("#forth")).to_be_disabled()  # the last draft is shown
    assert set(visit.states()) == {"pinned", "settled"}
    visit.page.locator("#play").click()
    expect(visit.page.locator("#play")).to_have_text("Pause")
    visit.context.close()
