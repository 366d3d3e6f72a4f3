"""The dashboard shows what the store holds."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx
from tests.browser.pages import Films, downloaded, give
from tests.serving.running import running


def test_it_shows_the_days_of_the_store(visit: Any, films: Films, served_bundle: Path, tmp_path: Path) -> None:
    with running({"small": served_bundle}, store=str(tmp_path / "days.sqlite")) as server:
        empty = visit("/dashboard", url=server.url)
        assert empty.get_by_text("No requests in this period").is_visible()
        asked = [films.film(f"{n}.png", roll=9 * n) for n in range(4)]
        answers = [
            httpx.post(f"{server.url}/v1/predict", files={"file": ("f.png", path.read_bytes(), "image/png")}).json()
            for path in [*asked, films.photograph()]
        ]
        for answer, correct in zip(answers[:3], (True, True, False), strict=True):
            told = {"id": answer["id"], "correct": correct, "label": None, "comment": ""}
            assert httpx.post(f"{server.url}/v1/feedback", json=told).status_code == 204
        page = visit("/dashboard", url=server.url)
        tiles = {
            tile.locator("dt").inner_text(): tile.locator(".value").inner_text()
            for tile in page.locator(".tiles > div").all()
        }
        assert tiles["Requests"] == "5"
        assert tiles["Unusual images"] == f"{sum(a['outside']['flagged'] for a in answers) / 5:.0%}"
        assert tiles["Agreement"] == "67%"
        mean = sum(a["confidence"] for a in answers) / 5
        assert tiles["Confidence"] == f"{mean:.0%}"
        titles = page.locator(".chart h3").all_inner_texts()
        assert titles[0].startswith("5 requests, with a peak on")
        labels = [a["label"] for a in answers]
        commonest = max(sorted(set(labels)), key=labels.count)
        assert f"{commonest} makes up {labels.count(commonest) / 5:.0%} of the answers" in titles
        assert "67% of 3 rated answers were marked correct" in titles
        days = list(csv.DictReader(io.StringIO(downloaded(page, "Export daily statistics (CSV)").decode())))
        assert days[-1]["requests"] == "5"
        feedback = list(csv.DictReader(io.StringIO(downloaded(page, "Export feedback (CSV)").decode())))
        assert sorted(row["correct"] for row in feedback) == ["false", "true", "true"]


def test_the_bars_are_as_high_as_their_numbers(visit: Any, films: Films) -> None:
    page = visit("/dashboard")
    if not page.locator(".chart").count():
        give(visit(), films.film())
        page = visit("/dashboard")
    measured = page.evaluate(
        """async () => {
          const { stackedBars, chart } = await import("/static/js/charts.js");
          const values = [0, 1, 2, 4];
          const days = ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"];
          const shown = chart({ title: "", topic: "", days, layers: [stackedBars([{ values, class: "accent" }])],
            top: 4, format: String, columns: [] });
          document.body.append(shown);
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          const bars = [...shown.querySelectorAll("rect")].map((bar) => Number(bar.getAttribute("height")));
          const lines = [...shown.querySelectorAll(".grid, .base")].map((line) => Number(line.getAttribute("y1")));
          return { bars, inner: Math.max(...lines) - Math.min(...lines) };
        }"""
    )
    assert measured["bars"] == [measured["inner"] * share for share in (0.25, 0.5, 1)]


def test_another_span_of_days(visit: Any) -> None:
    page = visit("/dashboard")
    with page.expect_response(lambda answer: "days=7" in answer.url) as waiting:
        page.get_by_role("radio", name="7 days").check()
    assert len(waiting.value.json()["days"]) <= 7
