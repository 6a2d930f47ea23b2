"""benchmarks/people: transcripts are kept and resumed, and scored like any system's."""

import json
import subprocess
import sys
from pathlib import Path

from sap2.data.audio import save_audio
from sap2.data.speech import Synthesiser

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "people" / "people.py"
TEXTS = {"1-1-1": "the pony carriage from brandon", "2-1-1": "ask redman about the garden"}
LISTS = {"1-1-1": ["brandon", "zorvan"], "2-1-1": ["redman", "wicket"]}


def test_two_utterances_are_scored_by_condition_and_resumed(tmp_path):
    speech, synthesiser = tmp_path / "speech", Synthesiser()
    speech.mkdir()
    rows = ["id\taudio\ttext\tduration"]
    for id, text in TEXTS.items():
        wave = synthesiser.speak(text, "en-us")
        save_audio(speech / f"{id}.wav", wave)
        rows.append(f"{id}\t{id}.wav\t{text.upper()}\t{len(wave) / 16_000}")
    (speech / "utterances.tsv").write_text("\n".join(rows) + "\n")
    lists = tmp_path / "lists.tsv"
    lists.write_text("".join(f"{id}\t{TEXTS[id]}\t[]\t{json.dumps(words)}\n" for id, words in LISTS.items()))
    (tmp_path / "words.txt").write_text("quaylan\nstirrup\ngarden\nhoulett\n")

    def run(*options):
        command = [sys.executable, str(BENCHMARK), "--speech", str(speech), "--lists", str(lists)]
        command += ["--work", str(tmp_path / "work"), "--json", str(tmp_path / "record.json"), *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    conditions = ["--conditions", "none", "2-capital", "4", "6-shared", "--words", str(tmp_path / "words.txt")]
    run(*conditions, "--part", "0/2")
    assert "1 utterances" in run(*conditions, "--part", "0/2").stdout, "nothing is transcribed again"
    assert "2 utterances" in run(*conditions).stdout
    record = json.loads((tmp_path / "record.json").read_text())
    assert {"none", "2-capital", "4", "6-shared"} <= record.keys()
    kept = [json.loads(line) for path in (tmp_path / "work").iterdir() for line in path.read_text().splitlines()]
    assert sorted(row["id"] for row in kept) == sorted(TEXTS)
    assert all(set(row["texts"]) == {"none", "2-capital", "4", "6-shared"} for row in kept)
    assert record["none"]["stage_1"]["recall"] == 0 and record["none"]["utterances"] == 2
    assert 0 <= record["4"]["wer"][0] <= 100
    # "brandon", "redman" and all four words, of which "garden" is spoken.
    assert {row["id"]: row["lists"]["6-shared"] for row in kept}["2-1-1"][:2] == ["garden", "redman"]
