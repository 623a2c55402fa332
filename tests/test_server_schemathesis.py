"""The whole server against its own OpenAPI document: whatever is asked, it answers as it says."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.core.result import Ok
from serving import Served, serving

from agentkit_engine import Engine
from agentkit_engine.server.chat.models import ANY_MODEL
from agentkit_engine.server.limits import Limits

# What may be refused for its meaning, such as a schema that nothing satisfies, is no fault; and of
# a field that may be null or a string, a string counts as wrong where null was to be broken.
UNCHECKED = [positive_data_acceptance, negative_data_rejection]
ONE_SESSION = "/v1/sessions/{id}"
# Seconds for one answer. A schema may take all of `Limits.schema_seconds`, which is as long as the
# client would wait by itself, and that is no fault of the server's.
PATIENCE = 120


@pytest.fixture(scope="module")
def server(engine: Engine) -> Generator[Served]:
    with serving(engine, limits=Limits(steps=2, tokens=16, sessions=8)) as served:
        yield served


@pytest.fixture(scope="module")
def document(server: Served) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def prepared(case: schemathesis.Case[Any], server: Served) -> schemathesis.Case[Any]:
    """A case that gets past the first door: of a session that is, of the model that is served."""
    if case.path.startswith(ONE_SESSION):
        made = httpx2.post(f"{server.url}/v1/sessions", json={})
        case.path_parameters["id"] = made.json()["id"]
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = ANY_MODEL
    return case


def check_answers(
    operation: schemathesis.APIOperation[Any, Any, Any, Any],
    server: Served,
    mode: GenerationMode,
    examples: int,
) -> int:
    """Asks so many times; how many there were that could be asked."""
    asked = 0

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
            HealthCheck.too_slow,
        ],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        nonlocal asked
        asked += 1
        prepared(case, server).call_and_validate(excluded_checks=UNCHECKED, timeout=PATIENCE)

    try:
        ask()
    except Unsatisfiable:  # nothing of it can be wrong
        assert mode is GenerationMode.NEGATIVE
    return asked


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(
    ("room", "examples"),
    [("Native", 8), ("Chat", 3), ("Copilot", 4), ("Operation", 1), ("Playground", 2)],
)
def test_every_answer_is_as_the_document_says(
    document: schemathesis.BaseSchema,
    server: Served,
    room: str,
    examples: int,
    mode: GenerationMode,
) -> None:
    found = [one.ok() for one in document.get_all_operations() if isinstance(one, Ok)]
    asked = [
        check_answers(operation, server, mode, examples)
        for operation in found
        if room in (operation.tags or ())
    ]
    assert asked
    assert sum(asked) or mode is GenerationMode.NEGATIVE
    assert httpx2.get(f"{server.url}/healthz").status_code == 200
