"""The OpenAPI document, and requests made up from it: whatever is sent, nothing answers with a 500."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.serving.running import Running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis


def test_document_names_every_address_with_examples(server: Running) -> None:
    document = server.target().request("GET", "/openapi.json").document
    for path in (
        "/health", "/predict", "/v1/predict", "/v1/explain", "/v1/batch", "/v1/model", "/v1/feedback", "/v1/stats",
        "/livez", "/readyz", "/metrics", "/v2/models/{name}/infer",
    ):  # fmt: skip
        assert path in document["paths"]
    assert document["components"]["schemas"]["PredictionReply"]["examples"]
    example = document["paths"]["/v1/examples/{number}"]["get"]["responses"]["200"]
    assert list(example["content"]) == ["image/png"]
    sent = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert {"application/octet-stream", "application/json", "multipart/form-data"} <= set(sent)
    refusals = document["paths"]["/v1/predict"]["post"]["responses"]
    assert set(refusals) >= {"200", "400", "401", "413", "415", "422", "429", "503"}
    assert list(refusals["415"]["content"]) == ["application/problem+json"]


@pytest.mark.filterwarnings("ignore")
def test_nothing_made_up_from_the_document_gives_a_500(server: Running) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    seen: set[int] = set()

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=8,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            response = case.call(timeout=30)
            seen.add(response.status_code)
            assert response.status_code < 500 or response.status_code == 503, case.as_curl_command()

        ask()
    assert {200, 400, 422} <= seen
