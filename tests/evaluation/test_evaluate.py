"""The stage `evaluate`: its outputs are complete, reproducible and atomic."""

import csv
import json
from dataclasses import dataclass

import pytest

from sap2.errors import InputError, ParamsError
from sap2.evaluation.evaluate import evaluate


@dataclass
class Section:
    bootstrap_samples: int = 50
    seed: int = 1
    normaliser: str = "none"
    definition: str = "deep-bias"


REFERENCES = {"t-1": "jon met meyer", "t-2": "we thank kathryn", "t-3": "the next page", "t-4": "meyer left"}
KEYWORDS = ["Jon", "Meyer", "Kathryn", "Clarke"]
HYPOTHESES = {
    "none": ["john met maier", "we thank catherine", "the next page", "maier left"],
    "full": ["jon met meyer", "we thank catherine", "the clarke page", "maier left"],
    "predicted": ["jon met meyer", "we thank kathryn", "the next page", "maier left"],
    "oracle": ["jon met meyer", "we thank kathryn", "the next page", "meyer left"],
}
PREDICTED = [["Jon", "Meyer"], ["Kathryn", "Clarke"], [], []]


def write(folder, keywords=lambda number: KEYWORDS, contexts=HYPOTHESES):
    paths = {}
    for context in contexts:
        rows = [
            {"id": id, "context": context, "reference": text, "hypothesis": written, "keywords": keywords(number),
             "predicted": answer, "audio": f"{id}.wav", "duration": 2.0, "talk": "t", "speaker": None}
            for number, ((id, text), written, answer) in enumerate(
                zip(REFERENCES.items(), HYPOTHESES[context], PREDICTED, strict=True)
            )
        ]  # fmt: skip
        paths[context] = folder / f"{context}.jsonl"
        paths[context].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def test_table_and_report_name_the_training_lists(tmp_path):
    paths, said = write(tmp_path), "The recogniser was trained on oracle lists."
    for lists in (None, "oracle"):
        if lists:
            (tmp_path / "recogniser.json").write_text(json.dumps({"lists": lists}), encoding="utf-8")
        evaluate(paths, tmp_path / "reports", Section(bootstrap_samples=0))
        table, report = ((tmp_path / "reports" / name).read_text("utf-8") for name in ("table.md", "report.html"))
        assert (said in table.splitlines()) == (said in report) == bool(lists)
    (tmp_path / "recogniser.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match='recogniser.json: got list, expected a JSON object; run "sap2 decode" again'):
        evaluate(paths, tmp_path / "reports", Section(bootstrap_samples=0))


def test_metrics_have_contexts_stage_1_and_settings(tmp_path):
    metrics = evaluate(write(tmp_path), tmp_path / "reports", Section())
    assert list(metrics) == [
        "none", "full", "predicted", "oracle", "pruning",
        "definition", "normaliser", "utterances", "bootstrap_unit", "bootstrap_units", "bootstrap_samples", "seed",
    ]  # fmt: skip
    # 11 words, 4 of them of spoken keywords: jon, meyer, kathryn, meyer
    assert [metrics[context]["wer"] for context in HYPOTHESES] == [36.363636, 27.272727, 9.090909, 0.0]
    assert [metrics[context]["b_wer"] for context in HYPOTHESES] == [100.0, 50.0, 25.0, 0.0]
    assert [metrics[context]["u_wer"] for context in HYPOTHESES] == [0.0, 14.285714, 0.0, 0.0]
    assert [metrics[context].get("b_wer_vs_none") for context in HYPOTHESES] == [None, 0.5, 0.25, 0.0]
    assert [metrics[context]["false_alarms_per_100"] for context in HYPOTHESES] == [0.0, 25.0, 0.0, 0.0]
    assert [metrics[context]["keyword_recall"] for context in HYPOTHESES] == [0.0, 0.5, 0.75, 1.0]
    pruning = metrics["pruning"]
    assert [pruning[name] for name in ("tp", "fp", "fn", "precision", "recall", "f1")] == [3, 1, 1, 0.75, 0.75, 0.75]
    assert (pruning["listed_per_utterance"], pruning["selected_per_utterance"]) == (4.0, 1.0)
    assert (metrics["definition"], metrics["normaliser"], metrics["utterances"]) == ("deep-bias", "none", 4)


def test_every_rate_lies_inside_its_interval(tmp_path):
    metrics = evaluate(write(tmp_path), tmp_path / "reports", Section(bootstrap_samples=200))
    for context in HYPOTHESES:
        for rate in ("wer", "u_wer", "b_wer", "keyword_recall"):
            figures = metrics[context]
            assert figures[f"{rate}_low"] <= figures[rate] <= figures[f"{rate}_high"]


def test_outputs_are_written_and_other_files_left_alone(tmp_path):
    output = tmp_path / "reports"
    output.mkdir()
    (output / "registration.json").write_text("{}")
    metrics = evaluate(write(tmp_path), output, Section())
    assert json.loads((output / "metrics.json").read_text()) == metrics
    assert (output / "table.md").read_text().startswith("| context | WER % |")
    assert (output / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in output.iterdir()) == [
        "metrics.json", "plots", "registration.json", "report.html", "table.md",
    ]  # fmt: skip
    assert sorted(path.name for path in (output / "plots").iterdir()) == [
        "b_wer.png", "counts.csv", "error_rates.csv", "recall_by_list_size.csv",
    ]  # fmt: skip


def test_plot_tables_hold_the_same_figures_as_the_metrics(tmp_path):
    metrics = evaluate(write(tmp_path), tmp_path / "reports", Section())
    with (tmp_path / "reports" / "plots" / "error_rates.csv").open() as lines:
        rows = {row["context"]: row for row in csv.DictReader(lines)}
    assert {context: float(row["b_wer"]) for context, row in rows.items()} == {
        context: metrics[context]["b_wer"] for context in HYPOTHESES
    }
    with (tmp_path / "reports" / "plots" / "counts.csv").open() as lines:
        counts = [list(row.values()) for row in csv.DictReader(lines) if row["context"] == "full"]
    assert counts == [
        ["full", "wer", "11", "3", "0", "0"],
        ["full", "u_wer", "7", "1", "0", "0"],
        ["full", "b_wer", "4", "2", "0", "0"],
    ]


def test_recall_is_given_by_list_size_where_it_varies(tmp_path):
    extra = ["quoventis", "zelburine"]
    evaluate(write(tmp_path, lambda number: KEYWORDS + extra[: 2 * (number % 2)]), tmp_path / "reports", Section())
    plots = tmp_path / "reports" / "plots"
    with (plots / "recall_by_list_size.csv").open() as lines:
        rows = [(row["list_size"], row["utterances"], row["spoken"], row["recall"]) for row in csv.DictReader(lines)]
    assert rows == [("4", "2", "2", "1.0"), ("6", "2", "2", "0.5")]
    assert (plots / "recall_by_list_size.png").is_file()


def test_many_list_sizes_are_grouped_without_overlap(tmp_path):
    rows = [
        {"id": f"u{size}", "reference": "word0 end", "hypothesis": "word0 end", "predicted": ["word0"],
         "keywords": [f"word{number}" for number in range(size)]}
        for size in range(1, 41)
    ]  # fmt: skip
    path = tmp_path / "predicted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    evaluate({"predicted": path}, tmp_path / "reports", Section(bootstrap_samples=5))
    with (tmp_path / "reports" / "plots" / "recall_by_list_size.csv").open() as lines:
        groups = [(row["list_size"], int(row["utterances"])) for row in csv.DictReader(lines)]
    assert [label for label, _ in groups] == ["1 to 7", "8 to 15", "16 to 23", "24 to 31", "32 to 40"]
    assert sum(count for _, count in groups) == 40


def test_two_runs_write_the_same_bytes(tmp_path):
    paths = write(tmp_path)
    for name in ("a", "b"):
        evaluate(paths, tmp_path / name, Section())
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 7
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_normaliser_reaches_scores_and_is_named_in_every_output(tmp_path):
    metrics = evaluate(write(tmp_path), tmp_path / "reports", Section(normaliser="basic"))
    assert metrics["normaliser"] == "basic"
    for name in ("table.md", "report.html"):
        assert "normaliser: basic (text and list in lower case" in (tmp_path / "reports" / name).read_text()


def test_no_spoken_keyword_anywhere_gives_null_not_zero(tmp_path):
    metrics = evaluate(write(tmp_path, lambda number: ["Clarke"]), tmp_path / "reports", Section())
    assert metrics["none"]["b_wer"] is None
    assert metrics["predicted"]["b_wer_vs_none"] is None
    assert "NaN" not in (tmp_path / "reports" / "metrics.json").read_text()


def test_one_context_alone_can_be_scored(tmp_path):
    metrics = evaluate(write(tmp_path, contexts=["oracle"]), tmp_path / "reports", Section())
    assert "pruning" not in metrics and "b_wer_vs_none" not in metrics["oracle"]


def test_refused_input_writes_nothing(tmp_path):
    paths = write(tmp_path)
    paths["full"].write_text(paths["full"].read_text().replace("t-4", "t-5"))
    with pytest.raises(InputError, match="t-4 missing; t-5 not in"):
        evaluate(paths, tmp_path / "reports", Section())
    for section in (Section(normaliser="whisper"), Section(definition="kaldi")):
        with pytest.raises(ParamsError, match="expected one of"):
            evaluate(write(tmp_path), tmp_path / "reports", section)
    assert not (tmp_path / "reports").exists()
