"""The talk's benchmark is built as it says, and its page says what its record says."""

import json
import runpy
from pathlib import Path

from tiny import tone

from sap2.data.audio import save_audio
from sap2.manifest import Utterance, write_manifest
from sap2.slides import read_keywords
from sap2.slides.timing import read_times

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "talk"


def test_a_page_lists_what_is_said_while_it_is_shown(tmp_path):
    save_audio(tmp_path / "a.wav", tone(2.5))
    names = ["zorvan", "quine", "meyer", "jon"]
    rows = [Utterance(id=name, audio="a.wav", duration=2.5, text=f"ask {name}", keywords=[name]) for name in names]
    write_manifest(tmp_path / "m.jsonl", rows)
    said = runpy.run_path(str(BENCHMARK / "run.py"))["build"](tmp_path, tmp_path / "m.jsonl", 0.2, 2)
    assert said == names
    listed = read_keywords((tmp_path / "keywords.tsv").read_text(), "keywords.tsv")
    assert [(one.page, one.keyword) for one in listed] == [(1, "zorvan"), (1, "quine"), (2, "meyer"), (2, "jon")]
    assert read_times(tmp_path / "times.tsv") == [(0.0, 1), (6.0, 2)]


def test_readme_says_what_the_record_says():
    record = json.loads((BENCHMARK / "records" / "talk.json").read_text(encoding="utf-8"))
    readme = (BENCHMARK / "README.md").read_text(encoding="utf-8")
    for name in ("short", "long"):
        one = record[name]
        figures = ("audio", "segments", "seconds", "real_time_factor", "peak_mb", "recall_without", "recall")
        assert "| " + " | ".join(f"{one[figure]:,}" for figure in figures) + " |" in readme
    killed = record["killed"]
    assert f"{killed['groups_kept']} of {killed['groups_in_all']} groups" in readme and killed["same"]


def test_a_talk_of_the_slides_benchmark_has_a_page_for_each_utterance():
    module = runpy.run_path(str(BENCHMARK / "slide_times.py"))
    pool = ["zorvan", "quine", "meyer", "jon", "kim", "lee", "noor", "ada", "bo", "cy"]
    rows = [
        Utterance(id=f"{talk}-{place}", audio="a", duration=2, text=f"ask {pool[place]}", keywords=pool, talk=str(talk))
        for talk in range(3)
        for place in range(5)
    ]
    for kind in module["KINDS"]:
        found = list(module["cases"]([(one, one.text) for one in rows], kind, talks=1))
        assert len(found) == 3
        for case in found:
            assert len(case.heard) == len(case.truth) == 5 and case.truth == sorted(case.truth)
            # The name said stands on its page.
            assert all(
                text.split()[1] in case.pages[page - 1] for text, page in zip(case.heard, case.truth, strict=True)
            )


def test_readme_says_what_the_record_of_slides_says():
    record = json.loads((BENCHMARK / "records" / "slide_times.json").read_text(encoding="utf-8"))
    rows = (BENCHMARK / "README.md").read_text(encoding="utf-8").split("## Which slide when")[1].splitlines()
    table = [row.strip("| ").split(" | ") for row in rows if row.startswith("| ")][2:]
    for kind, (_, right, _, within, _) in zip(("names", "shared", "agenda", "words"), table, strict=True):
        assert (f"{record[kind]['right']:.3f}", f"{record[kind]['within_2']:.3f}") == (right, within)
