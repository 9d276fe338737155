"""The page: what a browser would see of it, of results made up by hand."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_results import MODELS, ONE_SPEAKER, result, row
from made_strings import scored_strings

from spoken_digits.lab.evaluation.embeddings import map_embeddings
from spoken_digits.lab.reporting import html as report
from spoken_digits.lab.reporting import readme, tables
from spoken_digits.lab.reporting.exhibits import Embedding, Exhibits, Mistake, write_exhibits
from spoken_digits.lab.studies.registry import STUDIES, study_of
from spoken_digits.lab.studies.results import read_results, write_result

pytestmark = pytest.mark.xdist_group("report")  # one worker draws it once

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
NO_CORPUS = "no corpus lies here"


class Page(HTMLParser):
    """What a browser would see of a page: tags, ids, what it loads, the words."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.ids, self.loaded, self.linked, self.words = [], [], [], [], []
        self.source = source
        self.feed(source)
        self.text = re.sub(r"\s+", " ", "".join(self.words)).replace("\u00a0", " ")

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href", "src", "srcset", "data", "poster", "action"):
                (self.linked if tag in ("a", "use") else self.loaded).append(value)

    def handle_data(self, data):
        self.words.append(data)


def write(made, tmp_path, **options):
    """Write the page of results made by hand, and read it."""
    files = []
    for r in made:
        files.append(tmp_path / f"{r.name}.json")
        write_result(files[-1], r)
    report.write_report(files, tmp_path / "out" / "r.html", NO_CORPUS, **options)
    return Page((tmp_path / "out" / "r.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write([ONE_SPEAKER, MODELS], tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def published():
    return Page((RESULTS / "report.html").read_text(encoding="utf-8"))


def test_a_page_asks_the_network_for_nothing(page, published):
    for p in (page, published):
        assert all(value.startswith("data:") for value in p.loaded)
        assert all(value.startswith("#") for value in p.linked)
        assert not {"script", "iframe", "object", "embed", "img"} & set(p.tags)
        assert "@import" not in p.source
        # What is left of addresses are the names of XML namespaces.
        addresses = re.findall(r'https?://[^"\s<]+', p.source)
        assert {a for a in addresses if not a.startswith("http://www.w3.org/")} == set()
        assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)\)", p.source))


def test_ids_are_unique_and_links_lead_somewhere(page, published):
    for p in (page, published):
        assert len(p.ids) == len(set(p.ids))
        assert {link[1:] for link in p.linked} <= set(p.ids)


def test_the_first_screen_is_a_sentence_and_a_picture(page):
    head = page.source[page.source.index("<header>") : page.source.index("</header>")]
    assert head.count("<svg") == 1
    assert head.count("<table") == 0
    sentence = readme.sentences(MODELS)[0]
    assert sentence in Page(head).text


def test_a_section_is_a_question_an_answer_a_picture_and_a_table(page):
    assert [i for i in page.ids if i in STUDIES] == ["models", "one-speaker"]
    for made in (MODELS, ONE_SPEAKER):
        start = page.source.index(f'<section id="{made.name}"')
        section = page.source[start : page.source.index("</section>", start)]
        text = Page(section).text
        places = [text.index(made.question), text.index(readme.sentences(made)[0])]
        assert places == sorted(places)
        for shown in study_of(made).tables(made):
            assert tables.to_html(shown) in section
        for picture in study_of(made).pictures(made):
            assert picture.title in page.text
        assert "commit 0123456;" in section
        assert made.provenance.commits[0] not in page.source


def test_the_best_models_speakers_and_digits_are_there(page):
    for words in ("Test speakers", "Confusion matrix", "precision, %"):
        assert words in page.text
    assert "93.3, 94.3" in page.text or "92.3, 93.3" in page.text  # single seeds of a speaker


def test_what_is_normal_is_no_warning_and_what_is_not_is_one(page, tmp_path):
    assert 'class="note warn"' not in page.source
    quick = result("models", MODELS.rows, warnings=("A quick run.",), commits=("a" * 40, "b" * 40))
    shown = write([quick], tmp_path)
    assert shown.source.count('class="note warn"') == 1
    assert "A quick run." in shown.text
    assert "commits aaaaaaa, bbbbbbb;" in shown.text


def test_recordings_that_are_not_at_hand_are_told(page):
    assert "What is missing" in page.text
    assert "need the recordings" in page.text


def test_the_same_results_give_the_same_page_in_whatever_order(page, tmp_path):
    assert write([MODELS, ONE_SPEAKER], tmp_path).source == page.source


def test_a_study_of_ones_own_has_a_table_of_all_its_rows(tmp_path):
    made = result("mine", [row(0.5, model="lstm"), row(0.75)])
    shown = write([made], tmp_path)
    assert "LSTM" in shown.text
    assert "75.0" in shown.text


def test_what_stands_in_a_result_is_text_and_never_markup(tmp_path):
    rows = [row(0.9, speakers=("<hr>bob", "o'neil & co"))]
    made = result("models", rows, command="<script>alert(1)</script>", question="<hr>?")
    shown = write([made], tmp_path)
    assert not {"hr", "script"} & set(shown.tags)
    assert "<hr>bob" in shown.text


def exhibits(sound=None):
    points = np.random.default_rng(0).normal(size=(40, 3))
    drawn = map_embeddings("LSTM", points, list("0123456789") * 4, ["ann", "bob"] * 20)
    mistake = Mistake("6_ann_0.wav", "ann", "6", "8", 0.995, 4, 5, "<svg></svg>", sound)
    return Exhibits("spoken-digits study models", ("ab" * 20,), "2-D CNN", "<svg></svg>",
                    "<svg></svg>", (mistake,), (Embedding.of(drawn),))  # fmt: skip


@pytest.fixture
def made_results(tmp_path):
    """A folder of results: studies and strings made up by hand, so that few points are drawn."""
    (tmp_path / "strings.json").write_text(json.dumps(scored_strings()))
    for name in ("references", "shipped", "benchmarks"):
        (tmp_path / f"{name}.json").write_bytes((RESULTS / f"{name}.json").read_bytes())
    for made in (MODELS, ONE_SPEAKER):
        write_result(tmp_path / f"{made.name}.json", made)
    return tmp_path


def test_exhibits_get_their_sections_and_strings_a_curve(made_results):
    """The curve has a line a set, on a logarithmic axis."""
    bare = Page(report.published_report(made_results))
    assert not {"curves", "errors", "embeddings", "spectrograms"} & set(bare.ids)
    assert "strings" in bare.ids
    for said in ("false digits an hour", "digits missed, %", "handling noise: rustle", "WUW II"):
        assert said in bare.text
    assert "fluent strings of AN4, people left out" in bare.text
    assert "3.0 %; 90.0 %" in bare.text
    write_exhibits(made_results / "exhibits.json", exhibits(sound="data:audio/wav;base64,AAAA"))
    full = Page(report.published_report(made_results))
    assert {"comparison", "rejection", "curves", "errors", "embeddings", "spectrograms"} <= set(
        full.ids
    )
    assert "ann says 6, recognized as 8 (99.5 %)" in full.text
    assert "wrong in 4 of 5 networks" in full.text
    assert "data:audio" not in full.source  # sounds are never published
    assert tables.to_html(readme.headline(made_results)) in full.source


def test_rejection_is_that_of_the_shipped_recipe(published):
    shipped = json.loads((RESULTS / "shipped.json").read_text())
    for line in shipped["rejection_of_unseen_words"]:
        assert f"<td>{100 * line['auroc']:.1f}</td><td>{100 * line['eer']:.1f}</td>" in (
            published.source
        )


def test_the_published_page_is_what_results_hold(published):
    """Figures may differ from one release of matplotlib to the next, words and tables may not."""

    def words(source):
        return re.sub(r"<svg.*?</svg>", "", source, flags=re.S)

    assert words(report.published_report(RESULTS)) == words(published.source), "run `make docs`"
    for made in read_results(RESULTS):
        assert made.question in published.text


def test_the_published_page_is_light_and_holds_no_recording(published):
    assert len(published.source.encode()) < 3_000_000
    assert "audio" not in published.tags
    assert "data:audio" not in published.source


def test_the_threshold_in_use_is_drawn_as_a_probability(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report.figures, "rejection_curves", lambda of: drawn.append(of) or "<svg/>")
    shipped = json.loads((RESULTS / "shipped.json").read_text())
    shipped["recipe"] = re.sub(
        r"rejection_threshold = \S+", "rejection_threshold = 1.5", shipped["recipe"]
    )
    (tmp_path / "shipped.json").write_text(json.dumps(shipped))
    report._rejection(tmp_path / "shipped.json")
    assert drawn[0]["default"]["threshold"] == pytest.approx(0.8175745)  # 1 / (1 + exp(-1.5))
