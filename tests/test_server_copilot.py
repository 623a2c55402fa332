"""The copilot's routes over real HTTP: by OpenAI's own client, and as Mistral's and llama.cpp's
clients ask; what is encoded between keystrokes, and whose request ends whose."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest
from responding import client_of
from serving import Served, held_forwards, serving, until

from agentkit_engine import Engine, Template
from agentkit_engine.denoisers import Prefix
from agentkit_engine.server.limits import Limits

BEFORE, BEHIND = "def f(r):\n", "\n\treturn a"
LONG = "".join(f"item {number} on the list\n" for number in range(2000))


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def official(server: Served) -> Generator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


@contextmanager
def encoding(engine: Engine) -> Generator[list[int]]:
    """How many tokens each encoder forward is given."""
    denoiser, given = engine.runtime.denoiser, list[int]()
    original = denoiser.encode

    def encode(tokens: Sequence[int], *, prefix: Prefix | None = None) -> Prefix:
        given.append(len(tokens))
        return original(tokens, prefix=prefix)

    denoiser.encode = encode  # type: ignore[method-assign]
    try:
        yield given
    finally:
        denoiser.encode = original  # type: ignore[method-assign]


def data(response: httpx2.Response) -> list[Any]:
    """The events of a stream, its end left as it is."""
    told = [event.data for event in httpx2.EventSource(response)]
    return [one if one == "[DONE]" else json.loads(one) for one in told]


def fault(response: httpx2.Response) -> dict[str, Any]:
    found = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert isinstance(found, dict)
    return found


def filled(engine: Engine, *, max_tokens: int, before: str = BEFORE, behind: str = BEHIND) -> str:
    """What the engine itself fills the hole with."""
    hole = Template.infill(before, behind, max_tokens=max_tokens)
    return str(engine.document().infill_sync(hole, steps=8).value)


# --- /v1/completions


def test_a_suffix_is_pinned_and_the_hole_is_filled_as_the_engine_does(
    official: openai.OpenAI, engine: Engine, server: Served
) -> None:
    with held_forwards(engine) as holding:
        holding.gate.set()
        said = official.completions.create(
            model="default", prompt=BEFORE, suffix=BEHIND, max_tokens=8
        )
        assert 1 <= holding.forwards <= 8
    [choice] = said.choices
    assert choice.text == filled(engine, max_tokens=8)
    other = official.completions.create(
        model="default", prompt=BEFORE, suffix=" and tea", max_tokens=8
    )
    assert other.choices[0].text == filled(engine, max_tokens=8, behind=" and tea")
    assert said.object == "text_completion"
    assert said.model == server.app.state.service.model
    assert choice.finish_reason in ("stop", "length")
    assert said.usage is not None
    encode = engine.runtime.forms.writing.encode
    shown = [len(encode(text.encode())) for text in (BEFORE, BEHIND)]
    assert said.usage.prompt_tokens == sum(shown)
    assert 0 < said.usage.completion_tokens <= 8


@pytest.mark.parametrize(
    "prompt",
    [
        f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{BEHIND}<|fim_middle|>",
        f"<fim_suffix>{BEHIND}<fim_prefix>{BEFORE}<fim_middle>",
        f"<PRE> {BEFORE} <SUF>{BEHIND} <MID>",
        f"<｜fim▁begin｜>{BEFORE}<｜fim▁hole｜>{BEHIND}<｜fim▁end｜>",
    ],
)
def test_a_prompt_may_mark_the_hole_itself(
    official: openai.OpenAI, engine: Engine, prompt: str
) -> None:
    said = official.completions.create(model="default", prompt=prompt, max_tokens=8)
    assert said.choices[0].text == filled(engine, max_tokens=8)
    # where the suffix says where the hole is, such words are text
    other = official.completions.create(model="default", prompt=prompt, suffix=BEHIND, max_tokens=8)
    assert other.usage is not None
    assert said.usage is not None
    assert other.usage.prompt_tokens > said.usage.prompt_tokens


def test_a_stream_says_the_same_as_an_answer(official: openai.OpenAI) -> None:
    asked: Any = {
        "model": "default",
        "prompt": [BEFORE, "the list has "],
        "suffix": BEHIND,
        "max_tokens": 8,
        "n": 2,
        "temperature": 0.9,
        "seed": 7,
        "echo": True,
    }
    plain = official.completions.create(**asked)
    assert [choice.index for choice in plain.choices] == [0, 1, 2, 3]
    texts, reasons, usages = ["", "", "", ""], [""] * 4, list[Any]()
    for event in official.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ):
        usages += [event.usage] if event.usage else []
        for choice in event.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in plain.choices]
    assert reasons == [choice.finish_reason for choice in plain.choices]
    assert usages == [plain.usage]
    assert [text.startswith(BEFORE) for text in texts] == [True, True, False, False]
    assert len(set(texts)) == 4  # each choice has a seed of its own


def test_text_longer_than_a_canvas_comes_canvas_by_canvas(
    official: openai.OpenAI, engine: Engine
) -> None:
    asked: Any = {"model": "default", "prompt": "the list", "max_tokens": 120, "seed": 3}
    asked["temperature"] = 1.5  # or the tiny model says nothing
    plain = official.completions.create(**asked)
    parts = [
        choice.text
        for event in official.completions.create(**asked, stream=True)
        for choice in event.choices
        if choice.text
    ]
    assert "".join(parts) == plain.choices[0].text
    assert len(parts) > 1
    assert len(plain.choices[0].text) > engine.runtime.denoiser.canvas_length
    word = plain.choices[0].text[20:24]
    cut = official.completions.create(**asked, stop=["never seen", word])
    assert cut.choices[0].text == plain.choices[0].text.partition(word)[0]
    assert cut.choices[0].finish_reason == "stop"
    cut_stream = official.completions.create(**asked, stop=word, stream=True)
    told = "".join(choice.text for event in cut_stream for choice in event.choices)
    assert told == cut.choices[0].text


def test_logprobs_are_those_of_the_text(official: openai.OpenAI) -> None:
    asked: Any = {"model": "default", "prompt": BEFORE, "suffix": BEHIND, "max_tokens": 8}
    plain = official.completions.create(**asked, logprobs=2).choices[0]
    told = plain.logprobs
    assert told is not None
    assert told.tokens
    assert told.token_logprobs
    assert told.top_logprobs
    assert "".join(told.tokens) == plain.text
    starts = [len("".join(told.tokens[:place])) for place in range(len(told.tokens))]
    assert told.text_offset == starts
    for nats, likeliest in zip(told.token_logprobs, told.top_logprobs, strict=True):
        assert nats <= 1e-9
        assert len(likeliest) == 2
        assert max(likeliest.values()) >= nats - 1e-6
    *_, end = official.completions.create(**asked, logprobs=2, stream=True)
    assert end.choices[0].logprobs == told
    word = plain.text[2:4]
    cut = official.completions.create(**asked, logprobs=0, stop=word).choices[0]
    assert cut.logprobs is not None
    assert "".join(cut.logprobs.tokens or []).startswith(cut.text)
    assert len(cut.logprobs.tokens or []) < len(told.tokens)


def test_a_filling_that_takes_all_the_room_ends_by_length(official: openai.OpenAI) -> None:
    asked: Any = {"model": "default", "prompt": "the", "temperature": 2.0, "n": 16}
    reasons = {
        choice.finish_reason
        for seed in range(3)
        for choice in official.completions.create(**asked, max_tokens=1, seed=seed).choices
    }
    assert "length" in reasons


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"logprobs": 3, "echo": True}, "logprobs"),
        ({"top_p": 0.5}, "top_p"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"best_of": 3}, "best_of"),
        ({"n": 17}, "n"),
        ({"prompt": ["a"] * 17}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"steps": 1000}, "steps"),
        ({"suffix": 3}, "suffix"),
        ({"model": "gpt-9"}, "model"),
    ],
)
def test_what_can_not_be_honoured_is_named(
    client: httpx2.Client, asked: dict[str, Any], param: str
) -> None:
    body = {"model": "default", "prompt": "a", **asked}
    refused = client.post("/v1/completions", json=body)
    assert refused.status_code == (404 if param == "model" else 400)
    assert fault(refused)["param"] == param
    assert param in fault(refused)["message"]


# --- /v1/fim/completions


def test_mistral_s_form_answers_as_a_chat_does(client: httpx2.Client, engine: Engine) -> None:
    body = {"model": "default", "prompt": BEFORE, "suffix": BEHIND, "max_tokens": 8, "top_p": 1}
    said = client.post("/v1/fim/completions", json=body).json()
    [choice] = said["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == filled(engine, max_tokens=8)
    assert said["object"] == "chat.completion"
    *parts, end, done = data(client.post("/v1/fim/completions", json={**body, "stream": True}))
    text = "".join(part["choices"][0]["delta"]["content"] for part in parts)
    assert text == choice["message"]["content"]
    assert (end["choices"][0]["finish_reason"], done) == (choice["finish_reason"], "[DONE]")
    assert end["usage"] == said["usage"]
    missing = client.post("/v1/fim/completions", json={"model": "default"})
    assert (missing.status_code, fault(missing)["param"]) == (400, "prompt")


# --- /infill


def test_llama_s_form_fills_the_hole_and_tells_what_it_took(
    client: httpx2.Client, engine: Engine
) -> None:
    body = {
        "input_prefix": BEFORE[:6],
        "prompt": BEFORE[6:],
        "input_suffix": BEHIND,
        "n_predict": 8,
        "samplers": ["top_k", "infill"],
        "top_k": 40,
        "cache_prompt": True,
    }
    said = client.post("/infill", json=body).json()
    assert said["content"] == filled(engine, max_tokens=8)
    assert said["stop"] is True
    assert said["timings"]["predicted_n"] == said["tokens_predicted"]
    assert said["timings"]["predicted_ms"] > 0
    *parts, end = data(client.post("/infill", json={**body, "stream": True}))
    assert "".join(part["content"] for part in parts) == said["content"]
    assert [part["stop"] for part in parts] == [False] * len(parts)
    assert (end["stop"], end["content"]) == (True, "")
    assert end["stop_type"] == said["stop_type"]
    word = said["content"][2:4]
    cut = client.post("/infill", json={**body, "stop": [word]}).json()
    assert cut["content"] == said["content"].partition(word)[0]
    assert (cut["stop_type"], cut["stopping_word"]) == ("word", word)


def test_other_files_change_what_is_filled_in(client: httpx2.Client) -> None:
    body: dict[str, Any] = {"input_prefix": BEFORE, "input_suffix": BEHIND, "n_predict": 12}
    extra = [{"filename": "a.py", "text": "is it warmer?"}, {"name": "b.py", "text": "tea"}]
    alone = client.post("/infill", json=body).json()
    among = client.post("/infill", json={**body, "input_extra": extra}).json()
    assert among["tokens_evaluated"] > alone["tokens_evaluated"]
    assert among["content"] != alone["content"]
    wrong = client.post("/infill", json={**body, "input_extra": [{"filename": "a"}]})
    assert (wrong.status_code, fault(wrong)["param"]) == (400, "input_extra.0.text")


def test_a_warmed_prefix_is_not_encoded_again(client: httpx2.Client, engine: Engine) -> None:
    extra = [{"filename": "warm.py", "text": "what is the weather in Lagos?\n" * 5}]
    body = {"input_extra": extra, "input_prefix": "", "input_suffix": "", "n_predict": 0}
    with encoding(engine) as given, held_forwards(engine) as holding:
        warmed = client.post("/infill", json=body).json()
        assert holding.forwards == 0  # nothing is filled in
        assert (warmed["content"], warmed["tokens_predicted"]) == ("", 0)
        [read] = given
        assert 20 < read <= warmed["tokens_evaluated"] + 1
        given.clear()
        holding.gate.set()
        more = {**body, "input_prefix": "the list\n", "input_suffix": "\nend", "n_predict": 4}
        assert client.post("/infill", json=more).status_code == 200
        assert sum(given) < read / 2
        given.clear()
        assert data(client.post("/infill", json={**body, "stream": True}))[0]["stop"] is True
        assert given == []


# --- /v1/edit/completions


def test_an_edit_writes_a_part_anew_and_keeps_the_rest(client: httpx2.Client) -> None:
    text = f"{LONG}the list has three things on it\n{LONG}"
    start = text.index("three")
    body = {"model": "default", "text": text, "span": [start, start + 5], "keep": 0.5}
    said = client.post("/v1/edit/completions", json=body).json()
    [choice] = said["choices"]
    assert choice["text"] == text[:start] + choice["new"] + text[start + 5 :]
    assert choice["span"] == [start, start + len(choice["new"])]
    place = {"text": text, "start": start, "end": start + 5, "pattern": "(two|four|some)", "n": 2}
    chosen = client.post("/v1/edit/completions", json=place).json()
    assert {one["new"] for one in chosen["choices"]} <= {"two", "four", "some"}
    assert len(chosen["choices"]) == 2


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"span": [2, 99]}, "span"),
        ({"span": [3, 2]}, "span"),
        ({"span": [1, 2, 3]}, "span"),
        ({"span": [-1, 2]}, "span.0"),
        ({"start": 1, "end": 99}, "end"),
        ({}, "span"),
        ({"span": [0, 1], "keep": 2}, "keep"),
        ({"span": [0, 1], "stream": True}, "stream"),
        ({"span": [0, 1], "pattern": "(?=a)"}, "pattern"),
        ({"span": [0, 1], "pattern": "a{99}", "max_tokens": 4}, "pattern"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(
    client: httpx2.Client, asked: dict[str, Any], param: str
) -> None:
    refused = client.post("/v1/edit/completions", json={"text": "some text", **asked})
    assert refused.status_code == 400
    assert fault(refused)["param"] == param


# --- between keystrokes


def test_the_next_keys_are_encoded_at_most_once(client: httpx2.Client, engine: Engine) -> None:
    typed = "and then it is warmer than in Berlin or in Lagos, please remind me tomorrow "
    before, behind = LONG[:600], "\nthat is all"
    asked = first = 0
    with encoding(engine) as given:
        for end in range(0, len(typed), 3):
            body = {"input_prefix": before, "prompt": typed[:end], "input_suffix": behind}
            said = client.post("/infill", json={**body, "n_predict": 4, "steps": 1}).json()
            assert said["stop"] is True
            asked += 1
            if end == 0:
                first = sum(given)
                given.clear()
            if end == 3:
                assert given == []  # the second keystroke
                assert said["tokens_cached"] > 100
    assert first > 100
    assert len(given) < asked / 3
    assert sum(given) < 2 * len(typed)


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (LONG, LONG),
        ("x" * 100_000, "y" * 100_000),
        ("\n" * 50_000, " " * 50_000),
        ("\U0001f600\u00e9" * 20_000, "\U0001f600" * 20_000),
        ("<turn|><bos>" * 500, "<|mask|>" * 500),
        ("", ""),
        ("", LONG),
    ],
)
def test_no_text_is_too_long_or_too_strange(
    client: httpx2.Client, before: str, behind: str
) -> None:
    body = {"input_prefix": before, "input_suffix": behind, "n_predict": 4, "steps": 1}
    extra = [{"filename": "long", "text": LONG}]
    for more in ({}, {"input_extra": extra}, {"n_predict": 4000}):
        said = client.post("/infill", json={**body, **more})
        assert said.status_code == 200, said.text
        assert said.json()["tokens_evaluated"] < 512


# --- whose request ends whose


def asking(
    server: Served, key: str = "", *, path: str = "/v1/completions", client: str = "", **body: Any
) -> tuple[threading.Thread, list[Any]]:
    """A request under way in a thread, and its answer once there is one."""
    found: list[Any] = []
    asked = {
        "model": "default",
        "prompt": BEFORE,
        "input_prefix": "",
        "suffix": BEHIND,
        "input_suffix": BEHIND,
        "max_tokens": 8,
        "n_predict": 8,
        **body,
    }
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= {"x-client-id": client} if client else {}

    def ask() -> None:
        url = f"{server.url}{path}"
        found.append(httpx2.post(url, json=asked, headers=headers, timeout=60))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, found


def under_way(engine: Engine, number: int) -> None:
    until(lambda: engine.runtime.scheduler.statistics.queue == number)


@pytest.mark.parametrize("stream", [False, True])
def test_a_newer_request_of_a_client_ends_the_older(
    engine: Engine, server: Served, stream: bool
) -> None:
    with held_forwards(engine) as holding:
        older, first = asking(server, user="ana", stream=stream)
        assert holding.reached.wait(60)
        newer, second = asking(server, user="ana")
        older.join()
        assert first[0].status_code == 409
        assert fault(first[0])["code"] == "superseded"
        assert not second
        holding.gate.set()
        newer.join()
    assert second[0].json()["choices"][0]["text"] == filled(engine, max_tokens=8)


@pytest.mark.parametrize(
    "who",
    [{"client": "ana"}, {"path": "/infill", "id_slot": 0}, {"path": "/infill", "user": "ana"}],
)
def test_a_client_says_who_it_is_in_several_ways(
    engine: Engine, server: Served, who: dict[str, Any]
) -> None:
    with held_forwards(engine) as holding:
        older, first = asking(server, **who)
        assert holding.reached.wait(60)
        newer, second = asking(server, **who)
        older.join()
        assert first[0].status_code == 409
        holding.gate.set()
        newer.join()
    assert second[0].status_code == 200


def test_who_only_lets_something_be_read_ends_nothing(engine: Engine, server: Served) -> None:
    with held_forwards(engine) as holding:
        older, first = asking(server, user="ana")
        assert holding.reached.wait(60)
        reading, read = asking(server, path="/infill", user="ana", n_predict=0)
        under_way(engine, 2)
        holding.gate.set()
        older.join()
        reading.join()
    assert [first[0].status_code, read[0].status_code] == [200, 200]


def test_an_older_stream_that_has_begun_ends_with_an_error(engine: Engine, server: Served) -> None:
    with held_forwards(engine) as holding:
        older, first = asking(server, user="ana", stream=True, echo=True)
        assert holding.reached.wait(60)
        newer, second = asking(server, user="ana")
        older.join()
        holding.gate.set()
        newer.join()
    echoed, error = data(first[0])
    assert (first[0].status_code, echoed["choices"][0]["text"]) == (200, BEFORE)
    assert error["error"]["code"] == "superseded"
    assert second[0].status_code == 200


def test_nobody_else_s_request_ends(engine: Engine) -> None:
    with serving(engine, api_key=["k1", "k2"]) as served, held_forwards(engine) as holding:
        asked = [
            asking(served, "k1", user="ana"),
            asking(served, "k1", user="ben"),
            asking(served, "k2", user="ana"),
            asking(served, "k1"),
            asking(served, "k1"),
        ]
        under_way(engine, len(asked))
        holding.gate.set()
        for thread, _ in asked:
            thread.join()
    assert [found[0].status_code for _, found in asked] == [200] * len(asked)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_waits_for_a_place_is_ended_as_well(engine: Engine, stream: bool) -> None:
    with serving(engine, limits=Limits(requests=1)) as served, held_forwards(engine) as holding:
        working, _ = asking(served)
        assert holding.reached.wait(60)
        older, first = asking(served, user="ana", stream=stream)
        until(lambda: served.app.state.service._waiting == 1)
        newer, second = asking(served, user="ana")
        older.join()
        assert first[0].status_code == 409
        holding.gate.set()
        newer.join()
        working.join()
    assert second[0].status_code == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/fim/completions", "/infill"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_closed_connection_ends_the_work_before_the_next_step(
    engine: Engine, server: Served, path: str, stream: bool
) -> None:
    asked = {
        "prompt": BEFORE,
        "input_prefix": "",
        "input_suffix": BEHIND,
        "temperature": 1.0,
        "steps": 40,
        "stream": stream,
    }
    body = json.dumps(asked).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with held_forwards(engine) as holding:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            assert holding.reached.wait(60)
        until(lambda: not server.app.state.service._admitted)
        holding.gate.set()
        under_way(engine, 0)
        assert holding.forwards == 1
