"""The playground in a real browser over the embedded model: what it shows, and for whom."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browsing import Visit
from playwright.sync_api import Browser, expect
from serving import Served, held_forwards, serving

import agentkit_engine.server.playground
from agentkit_engine import Engine

FILES = Path(agentkit_engine.server.playground.__file__).parent


pytest_plugins = ["playground_fixtures"]


@pytest.fixture
def client(playground: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=playground.url, timeout=60) as client:
        yield client


def decided(client: httpx2.Client, visit: Visit, **settings: Any) -> dict[str, Any]:
    """What the API says to what the page is about to ask."""
    request = visit.request()
    opening = {"tools": visit.offered(), "messages": [{"role": "user", "content": request}]}
    session = client.post("/v1/sessions", json=opening).json()["id"]
    path = f"/v1/sessions/{session}"
    answer = client.post(f"{path}/decide", json={"settings": {"seed": 0, **settings}})
    client.delete(path)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert isinstance(found, dict)
    return found


def test_a_run_is_watched_to_the_call_that_the_api_makes(
    visit: Visit, client: httpx2.Client, playground: Served
) -> None:
    expected = decided(client, visit, steps=4, layout="slots", verify="off")
    [call] = expected["calls"]
    visit.choose("off")
    visit.run()
    assert visit.shown() == (call["tool"], call["arguments"])
    page = visit.page
    page.locator("#at").press("Home")
    begun = visit.states()
    assert {"pinned", "noise"} == set(begun)
    page.locator("#at").press("End")
    ended = visit.states()
    assert {"pinned", "settled"} == set(ended)
    bars = page.locator("#confidence [role=meter]")
    told = bars.evaluate_all(
        "(bars) => bars.map((one) => [`/${one.getAttribute('aria-label')}`, +one.ariaValueNow])"
    )
    whole = {name: share for name, share in call["confidence"].items() if name}
    assert dict(told) == pytest.approx(whole, abs=1e-2)
    choice = page.locator("#choice [role=meter]")
    assert choice.count() == len(expected["choice"])
    expect(choice.first).to_have_attribute("aria-label", call["tool"])
    expect(page.locator("#said")).to_contain_text(f"Calls {call['tool']}")
    expect(page.locator("#figures")).to_contain_text("forwards")
    assert len(playground.sessions) == 0  # the page leaves none behind


def test_drafts_come_while_it_runs_and_it_can_be_stopped(visit: Visit, embedded: Engine) -> None:
    page = visit.page
    with held_forwards(embedded):
        page.get_by_role("button", name="Run").click()
        expect(page.locator(".cell.noise").nth(3)).to_be_visible()
        expect(page.locator("#result")).to_be_hidden()
        expect(page.get_by_role("button", name="Compare")).to_be_disabled()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#said")).to_have_text("Stopped.")
    visit.run()


def test_drafts_are_stepped_through_and_played_again(visit: Visit) -> None:
    visit.choose("off")
    visit.run()
    page, at = visit.page, visit.page.locator("#at")
    last = int(at.get_attribute("max") or 0)
    assert last >= 3
    seen: list[list[str]] = []
    at.press("Home")
    for place in range(last + 1):
        expect(at).to_have_value(str(place))
        seen.append(visit.states())
        at.press("ArrowRight")
    assert seen[0] != seen[-1]
    assert any("draft" in states for states in seen)
    expect(at).to_have_attribute("aria-valuetext", re.compile(r"^Forward \d+: \d+ settled"))
    expect(page.locator("#forth")).to_be_disabled()
    at.press("ArrowLeft")
    expect(at).to_have_value(str(last - 1))
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Pause")
    visit.played()
    expect(at).to_have_value(str(last))


def test_a_schema_is_filled(visit: Visit, client: httpx2.Client) -> None:
    visit.choose("Schema")
    expect(visit.page.locator("#schema-title")).to_have_text("JSON Schema")
    visit.run()
    request = visit.request()
    body = {
        "schema": visit.offered(),
        "messages": [{"role": "user", "content": request}],
        "steps": 4,
        "layout": "slots",
        "seed": 0,
    }
    filling = client.post("/v1/infill", json=body).json()
    assert visit.shown() == ("", filling["value"])
    expect(visit.page.locator("#choice-box")).to_be_hidden()
    assert visit.page.locator("#confidence [role=meter]").count() >= 1


def test_words_are_shown_where_no_tool_fits(visit: Visit) -> None:
    visit.choose("Weather")
    visit.page.get_by_role("button", name="Sing me a song").click()
    expect(visit.page.locator("#request")).to_have_value("Sing me a song")
    visit.run()
    expect(visit.page.locator("#value")).to_have_class("answer")
    assert not visit.page.locator("#value").inner_text().startswith("{")


def test_steps_and_layouts_are_compared_side_by_side(visit: Visit, client: httpx2.Client) -> None:
    page = visit.page
    visit.choose("Travel", "off")
    expected = {
        f"{layout}, {steps} step{'s' if steps > 1 else ''}": decided(
            client, visit, steps=steps, layout=layout, verify="off"
        )
        for steps, layout in ((1, "slots"), (8, "slots"), (8, "float"))
    }
    visit.compare()
    ways = page.locator(".way")
    assert ways.count() == 8
    for name, decision in expected.items():
        [call] = decision["calls"]
        way = ways.filter(has=page.get_by_role("heading", name=re.compile(f"^{name}")))
        expect(way.locator("code")).to_contain_text(f"{call['tool']}(")
        for value in call["arguments"].values():
            expect(way.locator("code")).to_contain_text(json.dumps(value))
        expect(way).to_contain_text(re.compile(r"\d+ forwards?, 0 passes, [\d.]+ ms"))
    boxes = [ways.nth(place).bounding_box() for place in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]  # slots beside float
    page.get_by_role("button", name="Watch float, 8 steps").click()
    visit.played()
    [call] = expected["float, 8 steps"]["calls"]
    assert visit.shown() == (call["tool"], call["arguments"])


WRONG_SCHEMAS = (
    ('[{"name": "half"', "This is no JSON"),
    ("[]", "The list is empty"),
    ('[{"name": "a", "parameters": {}}, {"title": "b"}]', "Number 2 is no tool"),
    ('{"type": "string", "pattern": "(?=a)"}', "pattern"),
    ('{"name": "a", "parameters": {"properties": {"b": {"pattern": "(?=a)"}}}}', "(?=a)"),
    ('[{"name": "a", "parameters": {}}, {"name": "a", "parameters": {}}]', "two tools"),
)


def test_what_is_wrong_with_a_schema_is_told_at_its_field(
    browser: Browser, playground: Served
) -> None:
    visit = Visit(browser, playground.url).connected()
    visit.page.locator("#schema-box summary").click()
    field, error = visit.page.locator("#schema"), visit.page.locator("#schema-error")
    for schema, told in WRONG_SCHEMAS:
        field.fill(schema)
        visit.page.locator("#request").press("ControlOrMeta+Enter")
        expect(error).to_contain_text(told)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_be_focused()
        assert "schema-error" in (field.get_attribute("aria-describedby") or "")
        expect(visit.page.locator("#run")).to_have_text("Run")
    visit.choose("Travel")
    expect(error).to_be_hidden()
    visit.context.close()


def test_numbers_are_checked_at_their_fields(visit: Visit) -> None:
    for field, value, told in (
        ("temperature", "", "number"),
        ("temperature", "-1", "0 or more"),
        ("seed", "1.5", "whole"),
    ):
        visit.page.locator(f"#{field}").fill(value)
        visit.page.get_by_role("button", name="Run").click()
        expect(visit.page.locator(f"#{field}-error")).to_contain_text(told)
        visit.page.locator(f"#{field}").fill("0")
    assert not any("/v1/" in url for url in visit.asked)


def test_a_request_too_long_is_told_at_the_request(browser: Browser, playground: Served) -> None:
    visit = Visit(browser, playground.url).connected()
    visit.page.locator("#request").fill("word " * 4000)
    visit.page.get_by_role("button", name="Run").click()
    expect(visit.page.locator("#request-error")).to_contain_text("context")
    visit.context.close()


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(browser: Browser, embedded: Engine) -> None:
    with serving(embedded, api_key="s3cret") as served:
        visit = Visit(browser, served.url)
        key = visit.page.locator("#key")
        expect(visit.page.locator("#key-error")).to_contain_text("key")
        expect(key).to_be_focused()
        key.fill("wrong")
        key.press("Enter")
        expect(key).to_have_attribute("aria-invalid", "true")
        key.fill("s3cret")
        key.press("Enter")
        visit.connected()
        visit.run()
        kept = visit.page.evaluate(
            "() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
        )
        assert kept == [["s3cret"], [], ""]
        for name in ("curl", "Python"):
            visit.page.get_by_role("button", name=f"Copy as {name}").click()
            expect(visit.page.locator("#code")).to_contain_text("AGENTKIT_API_KEY")
            assert "s3cret" not in visit.page.locator("#code").inner_text()
        copied = visit.page.locator("#code").inner_text()
        assert json.loads(python(copied, AGENTKIT_API_KEY="s3cret"))
        visit.page.reload()
        visit.connected()
        assert not any("s3cret" in url for url in visit.asked)
        visit.context.close()


def test_a_server_that_went_is_told_and_found_again(browser: Browser, embedded: Engine) -> None:
    with serving(embedded) as served:
        visit = Visit(browser, served.url).connected()
    visit.page.get_by_role("button", name="Run").click()
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text("does not answer")
    with serving(embedded, port=served.port):
        visit.page.get_by_role("button", name="Try again").click()
        expect(alert).to_be_empty()
        visit.run()
    visit.context.close()


def python(code: str, **variables: str) -> str:
    """What a program prints."""
    return ran([sys.executable, "-"], code, variables)


def ran(command: list[str], code: str, variables: Mapping[str, str] = {}) -> str:
    known = {**os.environ, "no_proxy": "*", **variables}
    done = subprocess.run(
        command, input=code, env=known, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", ["Travel", "Schema"])
def test_what_is_copied_runs_and_says_the_same(visit: Visit, example: str) -> None:
    visit.choose(example)
    request = visit.page.locator("#request")
    request.fill(f"{request.input_value()} 'quoted' \"twice\" $HOME \\n é 😀")
    visit.run()
    tool, value = visit.shown()
    expected = value if example == "Schema" else [(tool, value)]

    def copied(name: str) -> str:
        visit.page.get_by_role("button", name=f"Copy as {name}").click()
        expect(visit.page.locator("#said")).to_have_text("Copied.")
        code: str = visit.page.evaluate("() => navigator.clipboard.readText()")
        assert code.strip() == visit.page.locator("#code").inner_text().strip()
        return code

    printed = json.loads(python(copied("Python")))
    told = printed if example == "Schema" else [(one["tool"], one["arguments"]) for one in printed]
    assert told == expected
    if shutil.which("curl") is None or shutil.which("sh") is None:
        pytest.skip("there is no curl here; what is copied as Python ran")
    answer = json.loads(ran(["sh"], copied("curl")))
    if example == "Schema":
        assert answer["value"] == expected
    else:
        assert [(one["tool"], one["arguments"]) for one in answer["calls"]] == expected


def test_the_page_is_small_whole_and_lets_in_nothing_else(client: httpx2.Client) -> None:
    parts = [path for path in FILES.iterdir() if path.suffix in (".html", ".css", ".js", ".svg")]
    assert sum(path.stat().st_size for path in parts) < 60_000
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for inline in (r"<style", r"\sstyle=", r"\son\w+=", r"<script(?![^>]*src=)"):
        assert not re.search(inline, page.text), inline
    for path in parts:
        served = client.get("/" if path.suffix == ".html" else f"/playground/{path.name}")
        assert served.content == path.read_bytes()
        assert served.headers["x-content-type-options"] == "nosniff"
        tag = served.headers["etag"]
        known = client.get(served.request.url, headers={"if-none-match": f'"other", W/{tag}'})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    assert client.head("/").status_code == 200
    missing = client.get("/playground/routes.py")
    assert missing.status_code == 404
    assert "routes.py" in missing.text


def test_the_page_is_told_what_the_model_offers(client: httpx2.Client) -> None:
    assert client.get("/playground/about").json() == {
        "model": "embedded",
        "layouts": ["slots", "float"],
        "verify": ["off", "rerank", "exact"],
        "canvas_length": 256,
        "context_length": 2048,
    }


def test_what_the_model_does_not_know_cannot_be_chosen(
    browser: Browser, playground: Served
) -> None:
    context = browser.new_context()
    page = context.new_page()
    about = {"model": "m", "layouts": ["float"], "verify": ["off"], "canvas_length": 1}
    page.route("**/about", lambda route: route.fulfill(json={**about, "context_length": 1}))
    page.goto(playground.url)
    expect(page.get_by_role("radio", name="slots")).to_be_disabled()
    expect(page.get_by_role("radio", name="float")).to_be_checked()
    expect(page.get_by_role("radio", name="exact")).to_be_disabled()
    expect(page.get_by_role("radio", name="off", exact=True)).to_be_enabled()
    context.close()
