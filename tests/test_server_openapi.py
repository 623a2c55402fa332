"""`GET /openapi.json`: a true OpenAPI document of every route, and answers that are as it says."""

from __future__ import annotations

import json
from collections.abc import Generator
from copy import deepcopy
from typing import Any

import httpx2
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from jsonschema_rs import ValidationError
from serving import Served, serving
from starlette.routing import Route
from tiny import WEATHER

from agentkit_engine import Engine
from agentkit_engine.server.transport.described import DescribedRoute

HELLO = {"role": "user", "content": "is it warm in Paris?"}
TOOL = WEATHER["function"]
UNDESCRIBED: set[str] = set()
LIFE = {"id": "0123456789abcdef", "tools": [TOOL], "messages": [HELLO]}


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx2.Client) -> dict[str, Any]:
    found = client.get("/openapi.json").json()
    assert isinstance(found, dict)
    return found


def check(document: dict[str, Any], name: str, value: Any) -> None:
    """That a value is as a schema of the document says."""
    whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(whole).validate(value)


def test_it_is_a_document_as_openapi_3_1_has_them(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    broken = deepcopy(document)
    del broken["paths"]["/v1/infill"]["post"]["responses"]["200"]["description"]
    with pytest.raises(ValidationError):
        schemathesis.openapi.from_dict(broken).validate()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(inside: Any) -> Generator[str]:
        if isinstance(inside, dict):
            if isinstance(inside.get("$ref"), str):
                yield inside["$ref"]
            inside = list(inside.values())
        if isinstance(inside, list):
            for one in inside:
                yield from references(one)

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= known


def test_every_route_is_described(server: Served, document: dict[str, Any]) -> None:
    for route in server.app.routes:
        assert isinstance(route, Route)
        if route.path in UNDESCRIBED:
            assert not isinstance(route, DescribedRoute)
            continue
        assert isinstance(route, DescribedRoute), route.path
        told = document["paths"][route.path_format]
        for method in (route.methods or set()) - {"HEAD"}:
            assert told[method.lower()]["summary"] == route.about.summary
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)


def test_keys_are_told_of_where_they_are_wanted(engine: Engine, document: dict[str, Any]) -> None:
    assert "securitySchemes" not in document["components"]
    with serving(engine, api_key="k") as served:
        url = f"{served.url}/openapi.json"
        assert httpx2.get(url).status_code == 401
        keyed = httpx2.get(url, headers={"x-api-key": "k"}).json()
    assert set(keyed["components"]["securitySchemes"]) == {"bearer", "key"}
    asked = keyed["paths"]["/v1/sessions"]["post"]
    assert asked["security"] == [{"bearer": []}, {"key": []}]
    assert "401" in asked["responses"]
    free = keyed["paths"]["/healthz"]["get"]
    assert "security" not in free
    assert "401" not in free["responses"]


def test_the_problems_of_a_path_are_told_in_its_own_dialect(document: dict[str, Any]) -> None:
    native = document["paths"]["/v1/infill"]["post"]["responses"]
    assert {"400", "413", "415", "422", "429", "504"} <= set(native)
    assert "Retry-After" in native["429"]["headers"]
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert "422" not in chat  # an API that has none
    messages = document["paths"]["/v1/messages"]["post"]["responses"]
    assert "529" in messages
    bodies = [
        told["400"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for told in (native, chat, messages)
    ]
    rooms = ("native", "openai", "anthropic")
    assert [room in body for room, body in zip(rooms, bodies, strict=True)] == [True] * 3
    assert [name for name in document["components"]["schemas"] if "agentkit" in name] == []


def test_the_answers_of_a_session_s_life_are_as_the_document_says(
    client: httpx2.Client, document: dict[str, Any]
) -> None:
    path = f"/v1/sessions/{LIFE['id']}"

    def asked(method: str, path: str, status: int, body: Any = None) -> Any:
        """The answer, once it is as the document says of the first route of that shape."""
        response = client.request(method, path, json=body)
        assert response.status_code == status, response.text
        shape = path.replace(str(LIFE["id"]), "{id}")
        told = document["paths"][shape][method.lower()]["responses"][str(status)]
        if response.headers.get("content-type") == "application/json":
            schema = told["content"]["application/json"]["schema"]
            check(document, schema["$ref"].rpartition("/")[2], response.json())
            return response.json()
        if "content" in told:
            kinds = told["content"]["text/event-stream"]["schema"]["oneOf"]
            events = {
                kind["properties"]["event"]["const"]: kind["properties"]["data"] for kind in kinds
            }
            for event in httpx2.EventSource(response):
                name = events[event.event]["contentSchema"]["$ref"].rpartition("/")[2]
                check(document, name, json.loads(event.data))
        return None

    asked("POST", "/v1/sessions", 201, LIFE)
    asked("GET", path, 200)
    asked("POST", f"{path}/extend", 200, {"messages": [HELLO]})
    asked("POST", f"{path}/decide", 200, {"settings": {"steps": 3}, "stream": True})
    decision = asked("POST", f"{path}/decide", 200, {"settings": {"max_calls": 2}})
    origin = decision["origin"] or decision["calls"][0]["origin"]
    asked("POST", f"{path}/refill", 200, {"origin": origin, "rejected": {"": "no"}})
    asked("POST", f"{path}/refill", 422, {"origin": "?", "rejected": {"": "no"}})
    asked("POST", f"{path}/fork", 409, {"messages": 9})
    asked("POST", f"{path}/fork", 201, {})
    asked("DELETE", path, 204)
    asked("GET", path, 410)
    asked("POST", "/v1/infill", 200, {"schema": {"enum": ["a", "b"]}, "stream": True})
    asked("POST", "/v1/infill", 422, {"schema": False})
