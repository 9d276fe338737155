"""A page of several studies, of summaries made up by a seeded generator."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save

from spoken_digits.lab.data.corpora import read_corpus
from spoken_digits.lab.data.dataset import prepare
from spoken_digits.lab.evaluation.embeddings import map_embeddings
from spoken_digits.lab.evaluation.metrics import Predictions, aggregate
from spoken_digits.lab.reporting import drawings, exhibits
from spoken_digits.lab.reporting import html as report
from spoken_digits.lab.reporting import readme as tables
from spoken_digits.lab.studies.comparisons import FACTORS
from spoken_digits.lab.training.config import TrainConfig
from spoken_digits.lab.training.supervised import build_network, predict

ROOT = Path(__file__).parents[3]
PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def predictions(skill, speakers=PEOPLE[:2], key=0, takes=2):
    rng = np.random.default_rng(key)
    clips = [(d, s, t) for s in speakers for d in range(10) for t in range(takes)]
    labels = np.array([d for d, _, _ in clips])
    scores = rng.normal(size=(len(clips), 10))
    scores[np.arange(len(clips)), labels] += skill
    names = [f"{d}_{s}_{t}.wav" for d, s, t in clips]
    return Predictions(
        scores, labels, [s for _, s, _ in clips], names, tuple("0123456789"), [False] * len(clips)
    )


def row(title, skill, speakers=PEOPLE[:2], **factors):
    """A row as `summarize` gives it, of two seeds."""
    runs = [(seed, predictions(skill, speakers, [seed, len(title)])) for seed in (0, 1)]
    total = asdict(aggregate(runs, np.random.default_rng(0)))
    del total["label_names"]
    known = dict.fromkeys(FACTORS, "") | {"grid": "results", "model": "cnn", "front_end": "ours"}
    known |= {"title": title, "parameters": 1000, "epochs": 2, "sources": None}
    return known | {"track": "fsdd-only", "condition": "test"} | total | factors


def made_up(study, rows, comparisons=()):
    data = {"corpus": "fsdd", "clips": 3000, "hash": "ab" * 32, "licence": "CC BY-SA 4.0"}
    data |= {"train_speakers": list(PEOPLE[2:]), "test_speakers": list(PEOPLE[:2])}
    versions = ("version", "python", "torch", "numpy", "platform", "device")
    summary = {
        "study": study,
        "question": f"What of {study}?",
        "answer": f"No difference shown in {study}.",
        "split": "xsdr",
        "command": f"spoken-digits study {study}",
        "quick": False,
        "commit": "0123456789abcdef",
        "versions": dict.fromkeys(versions, "1.0"),
        "data": data | {"clips_tested": 40},
        "seeds": [0, 1],
        "seconds_total": 100.0,
        "label_names": list("0123456789"),
        "note": None,
        "rows": rows,
        "comparisons": list(comparisons),
        "warnings": [],
        "missing": [],
    }
    return json.loads(json.dumps(summary))


def compared(title, reference, gain, p, shown):
    test = {"title": title, "reference": reference, "difference": -gain, "shown": shown}
    test |= {"difference_interval": [-gain - 0.01, -gain + 0.01]}
    test |= {"only_reference": None, "only_other": None, "p": None, "p_holm": None}
    return test | {"sign_flip_p_holm": p}


def sources(skill):
    """Accuracies by the voice that was learned from; lower in the first than in the others."""
    table = {}
    for k, source in enumerate(PEOPLE):
        shares = {name: (skill + k + j) / 20 for j, name in enumerate(PEOPLE) if name != source}
        table[source] = {"accuracy": float(np.mean(list(shares.values()))), "accuracy_sd": 0.01}
        worst = min(shares, key=shares.get)
        table[source] |= {"worst_speaker": worst, "per_speaker": shares, "xsdr_accuracy": None}
    return table


NOISES = [f"{kind}-{level}" for kind in ("white", "recorded") for level in (20, 10, 5, 0)]
STUDIES = {
    "noise": made_up(
        "noise",
        [
            row(f"cnn, {policy}, {condition}", skill, condition=condition, augmentation=policy)
            for policy in ("none", "speaker")
            for condition, skill in [
                ("clean", 4),
                *((noise, int(noise.rpartition("-")[2]) / 5) for noise in NOISES),
                ("reverberation", 2),
            ]
        ],
    ),
    "leave-one-out": made_up("leave-one-out", [row("2-D CNN", 3, PEOPLE), row("joint", 4, PEOPLE)]),
    "one-voice": made_up(
        "one-voice",
        [
            row(name, 2, PEOPLE, split="single", augmentation=name, sources=sources(k))
            for k, name in enumerate(("none", "speaker"), 8)
        ],
    ),
    "contrastive": made_up(
        "contrastive",
        [
            row("linear probe", 2, condition="probe"),
            *(
                row(f"{start}-{labels}", 1 + n, condition=f"{start}-{labels}")
                for start in ("finetune", "scratch")
                for n, labels in enumerate((1, 5, 20, "all"))
            ),
            row("another finetune-5", 9, condition="finetune-5", grid="supervised"),
        ],
    ),
    "augmentation": made_up(
        "augmentation",
        [
            row(f"cnn, {name}", k, augmentation=name)
            for k, name in enumerate(("none", "light", "strong"), 2)
        ],
        [
            compared("cnn, light", "cnn, none", 0.02, 0.4, False),
            compared("cnn, strong", "cnn, none", 0.1, 0.01, True),
        ],
    ),
    "models": made_up("models", [row("2-D CNN (ours), 40 mels", 3)]),
}
STUDIES["models"]["inner"] = [
    row(f"rnn {rate}", rate / 1e-3, grid="learning-rate", model="rnn", learning_rate=rate)
    for rate in (1e-3, 2e-3, 4e-3)
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for name, summary in STUDIES.items():
        (folder / f"{name}.json").write_text(json.dumps(summary))
    return sorted(folder.glob("*.json"))


@pytest.fixture(scope="module")
def page(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write_report(files, path, data=path.parent)
    return path.read_text(encoding="utf-8")


class Ids(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]


def test_a_page_has_a_section_for_each_study_in_order(page):
    ids = Ids(page).ids
    assert [name for name in ids if name in STUDIES] == list(tables.ORDER)
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'<a href="#([^"]*)"', page))
    assert targets <= set(ids)
    for name, summary in STUDIES.items():
        assert page.index(summary["answer"]) < page.index(f'<section id="{name}"')


def test_each_study_has_the_figures_that_fit_it(page):
    alts = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert sum("accuracy by training and test speaker" in alt for alt in alts) == 2
    assert sum("signal-to-noise ratio" in alt for alt in alts) == 2
    assert sum("labels for each digit" in alt for alt in alts) == 1
    assert sum("learning rate" in alt for alt in alts) == 1
    # Augmentation, one voice, contrastive and the room.
    assert sum(alt.startswith("Accuracy with intervals") for alt in alts) == 4
    assert sum(alt.startswith("Accuracy for each speaker") for alt in alts) == 2


def percents(study, *conditions):
    rows = [row for row in STUDIES[study]["rows"] if row.get("grid") != "supervised"]
    by_condition = {row["condition"]: row for row in rows}
    return ", ".join(f"{100 * by_condition[c]['accuracy_mean']:.0f}" for c in conditions)


def test_curves_run_from_clean_to_noisy_and_from_few_labels_to_all(page):
    alts = " ".join(re.findall(r'<svg role="img" aria-label="([^"]+)"', page))
    for kind in ("white", "recorded"):
        conditions = [f"{kind}-{level}" for level in (20, 10, 5, 0)]
        assert f"cnn, speaker {percents('noise', 'clean', *conditions)} %" in alts
    conditions = [f"finetune-{labels}" for labels in (1, 5, 20, "all")]
    assert f"pre-trained, fine-tuned {percents('contrastive', *conditions)} %" in alts


def test_a_sweep_is_the_mean_over_the_speakers_left_out() -> None:
    rows = [
        {"learning_rate": rate, "accuracy_mean": accuracy}
        for rate, accuracy in ((0.002, 0.8), (0.001, 0.5), (0.001, 0.7), (0.002, 0.9))
    ]
    line = drawings._mean_line("RNN", rows, "learning_rate")
    assert line.x == (0.001, 0.002)
    assert line.y == pytest.approx((0.6, 0.85))


def test_a_map_shows_every_source_and_no_voice_on_itself(page):
    svg = page[page.index('aria-label="speaker: accuracy by training') :]
    svg = svg[: svg.index("</svg>")]
    shares = [f"{5 * (9 + k + j)}" for k in range(6) for j in range(6) if k != j]
    cells = re.findall(r">(\d+)</text>", svg)  # and the numbers of the color bar
    for share in set(shares):
        assert cells.count(share) >= shares.count(share)


def test_what_did_not_help_is_named(page):
    section = page[page.index('<section id="unhelpful"') : page.index('<section id="provenance"')]
    assert "cnn, light, set against cnn, none: +2.0 points, no difference shown, p 0.4." in section
    assert "strong" not in section


def test_an_answer_is_cut_between_sentences():
    text = "The first is 92.2 % of them. The second is long. Third."
    assert tables.short(text) == text
    assert tables.short("2-D CNN leads.\n3 others follow.") == "2-D CNN leads. 3 others follow."
    assert tables.short(text, most=50) == "The first is 92.2 % of them. The second is long."
    assert tables.short(text, most=5) == "The first is 92.2 % of them."


def test_the_readme_begins_with_the_answers(files, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin --><!-- results:end -->")
    assert tables.update_readme(readme, files[0].parent)
    text = readme.read_text(encoding="utf-8")
    answers = [STUDIES[name]["answer"] for name in tables.ORDER]
    places = [text.index(answer) for answer in answers]
    assert places == sorted(places)
    assert places[-1] < text.index("<details>")
    assert text.count("<details>") == text.count("</details>") == len(STUDIES)
    again = readme.read_bytes()
    assert not tables.update_readme(readme, files[0].parent)
    assert readme.read_bytes() == again


def test_each_table_is_made_of_its_json_byte_for_byte(files, page):
    for source in files:
        summary = json.loads(source.read_text())
        made = report.study_tables(summary)
        assert made == report.study_tables(summary)
        assert made.strip() in page


def test_the_published_page_shows_the_published_tables_and_holds_no_recording():
    published = ROOT / "results" / "report.html"
    if not published.exists():
        pytest.skip("no report is published yet")
    page = published.read_text(encoding="utf-8")
    for summary in tables.read_results(ROOT / "results"):
        assert report.study_tables(summary).strip() in page, "run `make report`"
    assert "<audio" not in page
    assert "data:audio" not in page
    assert published.stat().st_size < 3_000_000
    mapped = json.loads((ROOT / "results" / "embeddings.json").read_text())["embeddings"]
    for drawn in mapped:  # published where recordings were at hand
        assert f"Embeddings of {drawn['title']} on a plane" in page


# The worst errors


def test_the_worst_errors_are_those_it_is_surest_of():
    networks = [predictions(1.5, key=[seed]) for seed in range(3)]
    scores = np.mean(
        [np.exp(n.scores) / np.exp(n.scores).sum(1, keepdims=True) for n in networks], axis=0
    )
    wrong = {
        file: float(s.max())
        for file, s, label in zip(networks[0].files, scores, networks[0].labels, strict=True)
        if s.argmax() != label
    }
    found = exhibits.worst_mistakes(networks, most=100)
    assert {m.file: pytest.approx(m.confidence, rel=1e-5) for m in found} == wrong
    assert [m.confidence for m in found] == sorted((m.confidence for m in found), reverse=True)
    assert all(m.spoken != m.heard and m.file.startswith(m.spoken) for m in found)
    assert all(0 <= m.wrong <= 3 for m in found)
    assert exhibits.worst_mistakes(networks, most=2) == found[:2]


def test_one_voices_trouble_with_one_word_does_not_fill_the_page():
    bad = predictions(9, takes=8)
    bad.scores[bad.labels == 4] = np.eye(10)[7] * 9
    found = exhibits.worst_mistakes([bad])
    assert [(m.spoken, m.heard) for m in found] == [("4", "7")] * 4
    assert {m.speaker for m in found} == set(PEOPLE[:2])


def test_a_sound_in_a_page_is_the_recording(tone_corpus):
    import base64
    import io

    import soundfile

    path = next(tone_corpus.rglob("*.wav"))
    head, _, body = exhibits.sound(path).partition(",")
    assert head == "data:audio/wav;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body)))
    expected, expected_rate = soundfile.read(path)
    assert rate == expected_rate
    assert samples == pytest.approx(expected, abs=1 / 32768)


def test_embeddings_are_those_of_the_runs_networks(tone_corpus, tmp_path):
    clips = read_corpus(tone_corpus)
    labels = tuple("0123456789")
    dataset = prepare(clips, tmp_path, labels)
    config = TrainConfig(model="temporal-cnn", split="xsdr")
    net = build_network(config, 10).eval()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config.to_toml())
    (tmp_path / "run" / "model.safetensors").write_bytes(save(net.state_dict()))
    runs = {"a net": tmp_path / "run", "unfinished": tmp_path / "nothing"}
    (found,) = exhibits.embedding_maps(runs, clips, labels, tmp_path)
    embeddings = predict(net, dataset, np.arange(len(clips)))[1]
    expected = map_embeddings(
        "a net", embeddings, [c.label for c in clips], [c.speaker for c in clips]
    )
    assert found.numbers() == expected.numbers()
    assert np.array_equal(found.pca, expected.pca)
