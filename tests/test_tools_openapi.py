"""The operations of an OpenAPI document are tools that send exactly what the document says.

The clinic's document has twenty operations; its server is a real one that keeps every request.
"""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hosting import PUBLIC, Internet, answering, hosted
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from agentkit import DefinitionError, PluginError, Retry, Tool, Toolset
from agentkit_engine.grammar import sample_values, schema_automaton
from agentkit_tools.internet.address import Rules
from agentkit_tools.internet.requesting import Limits
from agentkit_tools.openapi import OpenApiConfig, open_api
from agentkit_tools.openapi.document import BadDocument, read_document
from agentkit_tools.openapi.schema import Schemas

CLINIC = Path(__file__).parent / "clinic_openapi.yaml"
SECRETS: dict[str, Any] = {"key": "k-123456", "token": "t-654321", "login": "vet:pass word"}
ALL: Any = ("get", "post", "put", "patch", "delete")
HOST = "eu.clinic.example"


class Clinic:
    """Answers what it is told to, and keeps what it is asked: (method, target, body)."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.answer: Response = JSONResponse({"ok": True})
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=list(METHODS))])

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        target = request.scope["raw_path"].decode()
        if query := request.scope["query_string"].decode():
            target += f"?{query}"
        self.requests.append(request)
        self.asked.append((request.method, target, json.loads(body) if body else None))
        return self.answer


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def served() -> Generator[tuple[Clinic, int]]:
    clinic = Clinic()
    with hosted(clinic.app) as port:
        yield clinic, port


@pytest.fixture
def clinic(served: tuple[Clinic, int]) -> Clinic:
    served[0].requests.clear()
    served[0].asked.clear()
    served[0].answer = JSONResponse({"ok": True})
    return served[0]


@pytest.fixture
def internet(served: tuple[Clinic, int], clinic: Clinic) -> Internet:
    return Internet({HOST: [[PUBLIC]]}, {PUBLIC: served[1]})


@asynccontextmanager
async def opened(internet: Internet, **config: Any) -> AsyncGenerator[Toolset]:
    config = {"document": str(CLINIC), "secrets": SECRETS, "methods": ALL, **config}
    rules = Rules(allow=(HOST,), ports=frozenset({80}))
    async with open_api(OpenApiConfig(**config), requester=internet.requester(rules)) as tools:
        yield tools


def named(tools: Toolset, name: str) -> Tool[..., Any]:
    return next(one for one in tools if one.name == name)


async def call(internet: Internet, operation: str, /, **arguments: Any) -> str:
    """A call as the loop makes it: arguments are read by the schema first."""
    async with opened(internet, operations=[operation]) as tools:
        [tool] = tools
        result = await tool(**tool.bind(arguments))
    assert isinstance(result, str)
    return result


def written(tmp_path: Path, **changes: Any) -> str:
    """The path of a small document."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": f"http://{HOST}"}],
        "paths": {"/a": {"get": {"operationId": "a", "responses": {}}}},
        **changes,
    }
    path = tmp_path / "document.json"
    path.write_text(json.dumps(document))
    return str(path)


# What is offered


async def test_each_operation_is_a_tool_and_what_can_not_be_offered_is_told(
    internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "agentkit"):
        async with opened(internet) as tools:
            names = {one.name for one in tools}
    assert len(names) == 19
    assert "get_owners" in names  # by method and path, where there is no operationId
    [record] = caplog.records
    assert "'addPhoto' is not offered" in record.message
    assert "/paths/~1pets~1{petId}~1photo/post/requestBody/content" in record.message
    assert "multipart/form-data" in record.message


async def test_reading_is_all_that_is_offered_until_told_and_changes_wait_for_a_human(
    internet: Internet,
) -> None:
    async with opened(internet, methods=OpenApiConfig(document="x").methods) as tools:
        assert {one.name for one in tools} == {
            *("listPets", "getPet", "getOwner", "get_owners", "listVisits", "getVisit"),
            *("nearPoints", "inventory", "getOrder"),
        }
        assert not any(one.approval for one in tools)
    async with opened(internet, operations=["getPet", "removePet", "add*"]) as tools:
        assert {one.name: one.approval for one in tools} == {
            "getPet": False,
            "removePet": True,
            "addPet": True,
            "addNote": True,
        }
    async with opened(internet, operations=["removePet"], approval=False) as tools:
        assert not named(tools, "removePet").approval


async def test_operations_are_chosen_by_tag_and_name(internet: Internet) -> None:
    async with opened(internet, tags=["owners"]) as tools:
        assert {one.name for one in tools} == {"getOwner", "setOwner", "get_owners"}
    with pytest.raises(PluginError, match="no such operations: 'getCat'; mend `operations`"):
        async with opened(internet, operations=["getCat"]):
            pass
    with pytest.raises(BadDocument, match="multipart/form-data"):  # asked for by its name
        async with opened(internet, operations=["addPhoto"]):
            pass


async def test_the_engine_can_guarantee_the_arguments_of_every_operation(
    internet: Internet, clinic: Clinic
) -> None:
    async with opened(internet) as tools:
        for tool in tools:
            [value] = sample_values(tool.parameters, 1, seed=0)
            with suppress(Retry):  # a header's or path's value that no schema rules out
                await tool(**tool.bind(value))
        assert len(clinic.asked) >= 15
        pet = schema_automaton(named(tools, "addPet").parameters)
    assert pet.accepts(b'{"name":"Ada","kind":"owl","born":null}')
    assert not pet.accepts(b'{"name":"Ada","kind":"cow"}')


async def test_parameters_and_body_are_one_schema(internet: Internet) -> None:
    async with opened(internet) as tools:
        assert named(tools, "replacePet").parameters == {
            "type": "object",
            "properties": {
                "petId": {
                    "description": "The pet's number.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 2**31 - 1,
                },
                "name": {"type": "string", "minLength": 1, "description": "What it is called."},
                "kind": {"type": "string", "enum": ["cat", "dog", "owl"]},
                "born": {"type": ["string", "null"], "format": "date"},
                "weight": {"type": "number", "exclusiveMinimum": 0},
                "tags": {
                    "type": "array",
                    "items": {"type": "string"},
                    "uniqueItems": True,
                    "maxItems": 5,
                },
            },
            "required": ["petId", "name", "kind"],
            "additionalProperties": False,
        }
        # A name that both have says which it is; a body that may be left out is one argument.
        owner = named(tools, "setOwner").parameters
        assert owner["required"] == ["path_name", "body_name"]
        assert "body" in named(tools, "changePet").parameters["properties"]
        assert named(tools, "changePet").parameters["required"] == ["petId"]


async def test_recursive_schemas_stay_definitions(internet: Internet) -> None:
    async with opened(internet) as tools:
        family = named(tools, "setFamily")
    assert family.parameters["properties"]["body"] == {"$ref": "#/$defs/Animal"}
    [animal] = family.parameters["$defs"].values()
    assert animal["properties"]["owner"]["properties"]["animals"]["items"] == {
        "$ref": "#/$defs/Animal"
    }
    deep = {"name": "a", "parents": [{"name": "b", "owner": {"animals": [{"name": "c"}]}}]}
    assert family.bind({"petId": 1, "body": deep})["body"] == deep
    with pytest.raises(ValidationError):
        family.bind({"petId": 1, "body": {"name": "a", "parents": [{}]}})


def test_definitions_that_lead_to_each_other_are_all_there() -> None:
    def ref(name: str) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/{name}"}

    properties = {"A": ["D"], "D": ["D", "A"], "E": ["A", "D"]}
    schemas = {
        name: {"type": "object", "properties": {to.lower(): ref(to) for to in others}}
        for name, others in properties.items()
    }
    document = read_document(
        json.dumps({"openapi": "3.1.0", "paths": {}, "components": {"schemas": schemas}})
    )
    made = Schemas(document)
    made.plain(ref("E"), "")
    assert set(made.definitions) == {"A", "D"}


# What is sent


@pytest.mark.parametrize(
    ("name", "arguments", "asked"),
    [
        ("getPet", {"petId": 7}, ("GET", "/v2/pets/7", None)),
        ("listPets", {"kinds": ["cat", "owl"]}, ("GET", "/v2/pets?kinds=cat&kinds=owl", None)),
        (
            "listPets",
            {"born": {"from": "2020-01-01", "to": "2021-01-01"}},
            ("GET", "/v2/pets?born[from]=2020-01-01&born[to]=2021-01-01", None),
        ),
        ("listPets", {"fields": ["a|b", "c"]}, ("GET", "/v2/pets?fields=a%7Cb%7Cc", None)),
        ("listPets", {"labels": ["a,b", "c"]}, ("GET", "/v2/pets?labels=a%2Cb,c", None)),
        ("listPets", {"limit": 3}, ("GET", "/v2/pets?limit=3", None)),
        ("nearPoints", {"points": [1.5, 2]}, ("GET", "/v2/near/;points=1.5;points=2", None)),
        (
            "listVisits",
            {"filter": {"vet": "Ann & Bo", "urgent": True}},
            ("GET", "/v2/visits?vet=Ann%20%26%20Bo&urgent=true", None),
        ),
        (
            "get_owners",
            {"q": "a/b:c&d=e#f", "near": {"lat": 1, "lon": 2}},
            (
                "GET",
                "/v2/owners?q=a/b:c%26d=e%23f&near=%7B%22lat%22%3A%201%2C%20%22lon%22%3A%202%7D",
                None,
            ),
        ),
        (
            "addPet",
            {"name": "Ö", "kind": "cat", "born": None},
            ("POST", "/v2/pets", {"name": "Ö", "kind": "cat", "born": None}),
        ),
        (
            "setOwner",
            {"path_name": "Ann/Lee?x#y", "body_name": "Bo"},
            ("PUT", "/v2/owners/Ann%2FLee%3Fx%23y", {"name": "Bo"}),
        ),
        ("changePet", {"petId": 1}, ("PATCH", "/v2/pets/1", None)),
        (
            "addNote",
            {"visitId": "6f2f1f5e-0c7e-4b57-8a1a-0d8ff3a3f0aa", "body": ["fine"]},
            ("POST", "/v2/visits/6f2f1f5e-0c7e-4b57-8a1a-0d8ff3a3f0aa/notes", ["fine"]),
        ),
        (
            "bookVisit",
            {"body": {"petId": 1, "on": "2026-01-01T10:00:00Z", "reason": "cough"}},
            ("POST", "/v2/visits", {"petId": 1, "on": "2026-01-01T10:00:00Z", "reason": "cough"}),
        ),
    ],
)
async def test_a_call_is_the_request_that_the_document_describes(
    name: str, arguments: dict[str, Any], asked: Any, internet: Internet, clinic: Clinic
) -> None:
    assert await call(internet, name, **arguments) == '{"ok":true}'
    found = clinic.asked[0][1].replace("%5B", "[").replace("%5D", "]")
    assert [(clinic.asked[0][0], found, clinic.asked[0][2])] == [asked]


async def test_headers_and_cookies_are_sent(internet: Internet, clinic: Clinic) -> None:
    await call(internet, "listPets", **{"X-Trace": "abc", "theme": "dark"})
    [request] = clinic.requests
    assert request.headers["x-trace"] == "abc"
    assert request.cookies == {"theme": "dark"}
    assert request.headers["host"] == HOST
    await call(internet, "changePet", petId=1, body={"name": "a", "kind": "cat"})
    assert clinic.requests[1].headers["content-type"] == "application/merge-patch+json"


@pytest.mark.parametrize("value", ["..", ".", ""])
async def test_no_argument_climbs_out_of_its_path(
    value: str, internet: Internet, clinic: Clinic
) -> None:
    with pytest.raises(Retry) as caught:
        await call(internet, "getOwner", name=value)
    assert caught.value.value == "name"
    assert clinic.asked == []


async def test_an_argument_of_dots_and_slashes_stays_in_its_segment(
    internet: Internet, clinic: Clinic
) -> None:
    await call(internet, "getOwner", name="../../admin")
    await call(internet, "getOwner", name="{name}")
    assert [target for _, target, _ in clinic.asked] == [
        "/v2/owners/..%2F..%2Fadmin",
        "/v2/owners/%7Bname%7D",
    ]


async def test_no_argument_starts_a_header_of_its_own(internet: Internet, clinic: Clinic) -> None:
    with pytest.raises(Retry, match="one line of ASCII"):
        await call(internet, "listPets", **{"X-Trace": "a\r\nX-Key: mine"})
    assert clinic.asked == []


# Secrets


@pytest.mark.parametrize(
    ("name", "arguments", "header", "value"),
    [
        ("getPet", {"petId": 1}, "x-key", "k-123456"),
        ("inventory", {}, "authorization", "Bearer t-654321"),
        (
            "getOrder",
            {"orderId": 1},
            "authorization",
            "Basic " + base64.b64encode(b"vet:pass word").decode(),
        ),
    ],
)
async def test_secrets_are_sent_and_no_model_sees_or_sets_them(
    name: str,
    arguments: dict[str, Any],
    header: str,
    value: str,
    internet: Internet,
    clinic: Clinic,
) -> None:
    await call(internet, name, **arguments)
    assert clinic.requests[0].headers[header] == value
    async with opened(internet) as tools:
        offered = named(tools, "listPets")
        assert "X-Key" not in offered.parameters["properties"]
        with pytest.raises(ValidationError):
            offered.bind({"X-Key": "mine"})
        assert not any(secret in repr(one.spec) for one in tools for secret in SECRETS.values())


async def test_secrets_are_taken_out_of_answers_and_errors(
    internet: Internet, clinic: Clinic
) -> None:
    clinic.answer = JSONResponse({"you": "k-123456"})
    assert await call(internet, "getPet", petId=1) == '{"you":"[secret]"}'
    clinic.answer = JSONResponse({"bad key": "k-123456"}, 401)
    with pytest.raises(ValueError, match="answers 401") as caught:
        await call(internet, "getPet", petId=1)
    assert "k-123456" not in str(caught.value)
    assert "k-123456" not in repr(OpenApiConfig(document="x", secrets=SECRETS))


async def test_without_its_secret_an_operation_is_not_offered(
    internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(internet, secrets={}, methods=["get"]) as tools:
        assert {one.name for one in tools} == {"getOwner", "inventory"}  # open to anyone
    assert "needs a secret for 'login' or 'token'; give `secrets`" in caplog.text


async def test_a_key_in_the_query_is_sent_there(
    internet: Internet, clinic: Clinic, tmp_path: Path
) -> None:
    place = written(
        tmp_path,
        security=[{"key": []}],
        components={"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "k"}}},
    )
    async with opened(internet, document=place, secrets={"key": "a&b=c"}) as tools:
        await named(tools, "a")()
    assert clinic.asked[0][1] == "/a?k=a%26b%3Dc"


# Where it goes


async def test_the_server_and_its_variables_are_chosen(internet: Internet, clinic: Clinic) -> None:
    async with opened(internet, variables={"version": "v9"}) as tools:
        await named(tools, "getPet")(petId=1)
    async with opened(internet, server=f"http://{HOST}/base/") as tools:
        await named(tools, "getPet")(petId=1)
    assert [target for _, target, _ in clinic.asked] == ["/v9/pets/1", "/base/pets/1"]
    with pytest.raises(BadDocument, match="variable 'region' is 'mars', and none of: eu, us"):
        async with opened(internet, variables={"region": "mars"}):
            pass


async def test_a_relative_server_is_below_the_documents_own_url(
    internet: Internet, clinic: Clinic, tmp_path: Path
) -> None:
    document = written(tmp_path, servers=[{"url": "../api"}])
    clinic.answer = FileResponse(document, media_type="application/json")
    async with opened(internet, document=f"http://{HOST}/docs/openapi.json") as tools:
        await named(tools, "a")()
    assert [target for _, target, _ in clinic.asked] == ["/docs/openapi.json", "/api/a"]
    with pytest.raises(BadDocument, match=r"give `server`, as https://host/path"):
        async with opened(internet, document=written(tmp_path, servers=[{"url": "/api"}])):
            pass


async def test_secrets_do_not_follow_a_redirect_to_another_host(
    internet: Internet, clinic: Clinic
) -> None:
    for target in ("http://evil.example/", f"https://{HOST}/", f"http://{HOST}:8080/"):
        clinic.answer = RedirectResponse(target)
        with pytest.raises(ValueError, match="leads elsewhere"):
            await call(internet, "getPet", petId=1)
    clinic.answer = RedirectResponse("/moved")
    with pytest.raises(ValueError, match="answers 307"):
        await call(internet, "addPet", name="a", kind="cat")  # nothing is sent twice
    assert internet.asked == [HOST] * 4
    assert len(clinic.asked) == 4


async def test_an_operation_on_another_server_is_left_out(
    internet: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = {"operationId": "b", "servers": [{"url": "http://evil.example"}], "responses": {}}
    paths = {"/a": {"get": {"operationId": "a"}}, "/b": {"get": elsewhere}}
    async with opened(internet, document=written(tmp_path, paths=paths)) as tools:
        assert [one.name for one in tools] == ["a"]
    assert f"its server is another than http://{HOST}" in caplog.text


async def test_an_api_on_this_machine_is_reached_only_where_that_is_allowed(
    served: tuple[Clinic, int], clinic: Clinic
) -> None:
    server = f"http://localhost:{served[1]}"
    config: dict[str, Any] = {"document": str(CLINIC), "server": server, "secrets": SECRETS}
    async with open_api(OpenApiConfig(**config)) as tools:
        with pytest.raises(ValueError, match="loopback address"):
            await named(tools, "getPet")(petId=1)
    assert clinic.asked == []
    async with open_api(OpenApiConfig(**config, allow_private=True)) as tools:
        assert await named(tools, "getPet")(petId=1) == '{"ok":true}'


# What comes back


async def test_long_answers_are_cut_and_stay_json(internet: Internet, clinic: Clinic) -> None:
    clinic.answer = JSONResponse([{"id": i, "text": "x" * 300} for i in range(200)])
    async with opened(internet, max_characters=1000) as tools:
        said = await named(tools, "getPet")(petId=1)
    value, _, note = said.partition("\n\n")
    assert len(value) <= 1000
    assert note == "[Lists and texts are cut; ask for less where the arguments allow.]"
    read = json.loads(value)
    assert read[0]["id"] == 0
    assert read[-1].endswith(" more")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(status_code=204), "[Done; the API answers 204 and no more.]"),
        (Response("fine", media_type="text/plain"), "fine"),
        (Response(b"\x89PNG", media_type="image/png"), "[4 bytes of image/png, which can't"),
        (Response("{not json", media_type="application/json"), "{not json"),
        (Response("[" * 100_000, media_type="application/json"), "[[[["),
    ],
)
async def test_other_answers_are_told(
    answer: Response, said: str, internet: Internet, clinic: Clinic
) -> None:
    clinic.answer = answer
    assert (await call(internet, "getPet", petId=1)).startswith(said)


async def test_a_failure_tells_status_and_body(internet: Internet, clinic: Clinic) -> None:
    clinic.answer = JSONResponse({"detail": "no such pet"}, 404)
    with pytest.raises(ValueError, match=r"GET /pets/\{petId\}: the API answers 404: ") as caught:
        await call(internet, "getPet", petId=1)
    assert '{"detail":"no such pet"}' in str(caught.value)


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


async def test_an_answer_that_drips_is_left() -> None:
    with answering(drip) as port:
        internet = Internet({HOST: [[PUBLIC]]}, {PUBLIC: port})
        sender = internet.requester(limits=Limits(seconds=0.3))
        config = OpenApiConfig(document=str(CLINIC), secrets=SECRETS)
        async with open_api(config, requester=sender) as tools:
            with pytest.raises(ValueError, match=r"no whole answer came within 0\.3 seconds"):
                await named(tools, "getPet")(petId=1)


async def test_an_answer_beyond_its_size_is_cut(internet: Internet, clinic: Clinic) -> None:
    clinic.answer = Response(b"9" * 3_000_000, media_type="application/json")
    said = await call(internet, "getPet", petId=1)
    assert said.endswith("[Cut; ask for less of it where the arguments allow.]")
    assert len(said) < 4_100


# Documents that are none


@pytest.mark.parametrize(
    ("changes", "pointer", "mend"),
    [
        ({"swagger": "2.0"}, "/swagger", "convert it to OpenAPI 3"),
        ({"openapi": "4.0.0"}, "/openapi", "no version 3.0.x or 3.1.x"),
        ({"paths": None}, "/paths", "needs an object of paths"),
        ({"paths": {"/a": {"get": {"$ref": "other.yaml"}}}}, "/paths/~1a/get/$ref", "bundle"),
        ({"paths": {"/a": {"$ref": "#/nowhere"}}}, "/paths/~1a/$ref", "names nothing"),
        ({"paths": {"/a": {"$ref": "#/paths/~1a"}}}, "/paths/~1a", "leads back to itself"),
        (
            {"paths": {p: {"get": {"operationId": "x"}} for p in ("/a", "/b")}},
            "/paths/~1b/get",
            "an `operationId` of its own",
        ),
    ],
)
async def test_what_is_wrong_with_a_document_is_told_with_its_place(
    changes: Any, pointer: str, mend: str, internet: Internet, tmp_path: Path
) -> None:
    with pytest.raises(BadDocument) as caught:
        async with opened(internet, document=written(tmp_path, **changes)):
            pass
    assert caught.value.pointer == pointer
    assert mend in str(caught.value)


@pytest.mark.parametrize(
    ("operation", "pointer", "mend"),
    [
        (
            {"parameters": [{"name": "q", "in": "query", "style": "simple", "schema": {}}]},
            "/paths/~1a/get/parameters/0/style",
            "none of query: form",
        ),
        (
            {"parameters": [{"name": "q", "in": "query", "schema": {"$ref": "#/components/x"}}]},
            "/paths/~1a/get/parameters/0/schema/$ref",
            "names nothing",
        ),
        (
            {"parameters": [{"name": "q", "in": "query", "schema": {"$dynamicRef": "#x"}}]},
            "/paths/~1a/get/parameters/0/schema/$dynamicRef",
            "use $ref instead",
        ),
        ({"parameters": [{"in": "query"}]}, "/paths/~1a/get/parameters/0", "needs a `name`"),
    ],
)
async def test_what_is_wrong_with_an_operation_is_told_with_its_place(
    operation: Any, pointer: str, mend: str, internet: Internet, tmp_path: Path
) -> None:
    paths = {"/a": {"get": {"operationId": "a", **operation}}}
    with pytest.raises(BadDocument) as caught:
        async with opened(internet, document=written(tmp_path, paths=paths), operations=["a"]):
            pass
    assert caught.value.pointer == pointer
    assert mend in str(caught.value)


def test_yaml_is_read_as_openapi_says() -> None:
    document = read_document(
        "openapi: 3.1.0\npaths:\n  /a:\n    get:\n"
        "      responses: {200: {x: [no, 2020-01-01, 1, 1.5]}}"
    )
    [responses] = [one["get"]["responses"] for one in document.root["paths"].values()]
    assert responses == {"200": {"x": ["no", "2020-01-01", 1, 1.5]}}


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "\n".join(f"b{i}: &{chr(98 + i)} [{f'*{chr(97 + i)},' * 10}]" for i in range(8)),
        "a: &a [*a]",
        "[" * 5000,
        '{"a": ' * 5000,
        "!!python/object/apply:os.system [echo]",
        "a: !!binary aGk=",
        "a: [",
        "- 1",
    ],
)
def test_text_that_is_no_document_is_refused_soon(text: str) -> None:
    with pytest.raises(DefinitionError, match="OpenAPI document, at /"):
        read_document(text)
