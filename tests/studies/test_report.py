"""The page that people read, in a real browser."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from twofold.studies.report import attribution_sentence, verdict_sentence, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("TWOFOLD_TEST_BROWSER") != "required",
    reason="chromium is not installed: apt-get install chromium",
)


@pytest.fixture(scope="session")
def result(study_folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study_folder / "study.json").read_text())
    return found


def test_every_measured_number_in_the_page_stands_in_the_result(
    study_folder: Path, result: dict[str, Any]
) -> None:
    page = (study_folder / "report.html").read_text()
    page = page[: page.index("<h2>Protocol")]
    cells = re.sub(r"<(svg|style).*?</\1>", "", page, flags=re.S)
    shown = {match.lstrip("0") for match in re.findall(r"(?<![\d.])0?\.\d{4}\b", cells)}
    known: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)
        elif isinstance(value, float):
            known.add(f"{abs(value):.4f}".lstrip("0"))

    walk(result)
    assert len(shown) > 30
    assert shown - known <= {".6931"}  # log 2, the largest divergence


def test_the_page_is_the_same_every_time(result: dict[str, Any], tmp_path: Path) -> None:
    write_report(result, tmp_path / "one.html")
    write_report(result, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_the_page_needs_nothing_from_elsewhere(study_folder: Path) -> None:
    page = (study_folder / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)(?!http://www.w3.org)[^\"]+\"", page)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("helps", "Learning recommendation beside it helps search."),
        ("hurts", "Learning recommendation beside it hurts search."),
        ("no material difference", "makes no material difference to search."),
        ("not enough data", "cannot be told from these data: because."),
    ],
)
@pytest.mark.parametrize("provisional", [True, False])
def test_verdicts_in_words(verdict: str, words: str, provisional: bool) -> None:
    entry = {"verdict": verdict, "provisional": provisional, "reason": "because"}
    sentence = verdict_sentence({"verdicts": {"search": entry}}, "search")
    assert words.lower() in sentence.lower()
    if verdict != "not enough data":
        assert sentence.startswith("Provisionally") == provisional


@pytest.mark.parametrize(
    ("finding", "gain", "seeds", "improving", "words"),
    [
        ("popularity", 0.1, 3, [], "mostly popularity (H1): it accounts for more of the gain"),
        ("content", -0.1, 3, [], "mostly content (H2): it accounts for more of the loss"),
        ("both", 0.1, 1, [], "for these trained models: popularity and content both"),
        ("content", 0.1, 3, ["real"], "while arms are still improving: mostly content"),
        ("no gain", 0.0, 3, [], "nothing to attribute"),
    ],
)
def test_findings_in_words(
    finding: str, gain: float, seeds: int, improving: list[str], words: str
) -> None:
    found = {
        "finding": finding,
        "added": "search",
        "gain": {"difference": gain},
        "still_improving": improving,
    }
    result = {"stamp": {"seeds": seeds}, "attribution": {"recommendation": found}}
    assert words in str(attribution_sentence(result, "recommendation"))


@needs_browser
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1000])
def test_the_page_opens_without_an_error(study_folder: Path, scheme: str, width: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"file://{study_folder / 'report.html'}")
        assert page.title().startswith("Twofold study")
        assert page.locator(".verdict").count() == 2
        assert page.locator("figure svg").count() == 8
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        ink, paper = page.evaluate(
            "['color', 'backgroundColor'].map(name => "
            "+getComputedStyle(document.body)[name].match(/\\d+/)[0])"
        )
        assert (ink < paper) == (scheme == "light")
        browser.close()
    assert said == []
