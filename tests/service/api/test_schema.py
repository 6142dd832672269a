"""The description of the API is true, and no request that follows or breaks it makes a server error."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.api.app import create_app
from tests.fix_region import ToyRegion
from tests.fix_site import site_of

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
LIMITS = hypothesis.settings(
    max_examples=12,  # for each operation, and as many against its schema
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def operations(toy: ToyRegion) -> list[Any]:
    app = create_app(toy.settings, toy.clock, bundle=None)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_makes_a_server_error_and_answers_are_as_described(
    published: ToyRegion, mode: GenerationMode
) -> None:
    asked = 0

    def check(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        response = case.call()  # raises what the application raises
        # 503 says what cannot be served just now; a mistake of ours would have been raised.
        assert response.status_code in (*range(200, 500), 503), (case.as_curl_command(), response.text)
        case.validate_response(response, checks=CHECKS)

    for operation in operations(published):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            hypothesis.given(case=strategy)(LIMITS(lambda case: check(case)))()
        except Unsatisfiable:  # nothing can be wrong about an operation without parameters
            assert mode is GenerationMode.NEGATIVE
    assert asked > 100


def test_the_description_lists_every_address_once_and_errors_as_problems(published: ToyRegion) -> None:
    said = site_of(published).get("/openapi.json").json()

    names = [operation["operationId"] for path in said["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert {method for path in said["paths"].values() for method in path} == {"get"}
    for path, operations in said["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            for code, answer in operation["responses"].items():
                if code[0] in "45" and path != "/readyz":  # which names what is missing
                    assert list(answer["content"]) == ["application/problem+json"], path
    assert {"/layers", "/layers/{identity}", "/layers/{identity}/tiles/{z}/{x}/{y}.png"} <= set(said["paths"])


def test_the_examples_of_the_description_work(published: ToyRegion) -> None:
    http = site_of(published)
    said = http.get("/openapi.json").json()
    asked = 0
    for path, operations in said["paths"].items():
        if operations["get"]["tags"][0] not in ("layers", "tiles", "wmts"):
            continue
        values = {
            parameter["name"]: (parameter.get("examples") or parameter["schema"].get("examples") or [None])[0]
            for parameter in operations["get"].get("parameters", [])
            if parameter["in"] == "path"
        }
        if None in values.values():
            continue
        assert http.get(path.format(**values)).status_code == 200, path
        asked += 1
    assert asked > 8


def test_there_are_no_pages_that_need_the_internet(published: ToyRegion) -> None:
    for path in ("/docs", "/redoc"):
        assert site_of(published).get(path).status_code == 404
