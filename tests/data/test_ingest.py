"""Broken input of every kind: each record ends in a manifest, or in the quarantine with its reason."""

import json
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trees import RATE, tone, write_audio

from sap2.data import ingest as module
from sap2.data.corpora import prepare_corpus
from sap2.data.entries import LONGEST_LINE, SPLITS, Entry
from sap2.data.ingest import ingest
from sap2.errors import InputError
from sap2.manifest import read_manifest
from sap2.params import PrepareSection

TEXT = "hello zorvan"
TOKENIZER = {
    "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
    "decoder": {"type": "Fuse"}, "truncation": None, "padding": None,
    "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz' <>|_")}, "merges": []},
}  # fmt: skip


def three_hours(path: Path) -> None:
    """A WAV of three hours, 8 bit at 8 kHz; a hole in the file system, so that it takes no room."""
    size = 3 * 3600 * 8000
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", size
    )
    path.write_bytes(header)
    os.truncate(path, len(header) + size)


def cut(path: Path) -> None:
    write_audio(path)
    path.write_bytes(path.read_bytes()[:3000])


def loop(path: Path) -> None:
    path.symlink_to(path)


def outside(path: Path) -> None:
    path.symlink_to(write_audio(path.parent.parent / "secret.wav"))


def unreadable_samples(path: Path) -> None:
    samples = tone()
    samples[100] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")


# name: (file, how it is made, cells of the TSV that differ, beginning of the reason; None = accepted)
KINDS = {
    "truncated FLAC": ("cut.flac", cut, {}, "unusable audio: "),
    "truncated WAV": ("cutwav.wav", cut, {}, "unusable audio: "),
    "no bytes": ("zero.wav", Path.touch, {}, "unusable audio: "),
    "zeros for a header": ("zeros.flac", lambda path: path.write_bytes(bytes(5000)), {}, "unusable audio: "),
    "text with an audio ending": ("text.wav", lambda path: path.write_text("hello"), {}, "unusable audio: "),
    "header alone": ("bare.wav", lambda path: soundfile.write(path, tone(0), RATE), {}, "unusable audio: "),
    "NaN samples": ("nan.wav", unreadable_samples, {}, "unusable audio: "),
    "0.05 s": ("short.wav", lambda path: write_audio(path, 0.05), {}, "unusable audio: "),
    "3 h": ("hours.wav", three_hours, {}, "unusable audio: "),
    "silence": ("silent.wav", lambda path: soundfile.write(path, tone() * 1e-4, RATE), {}, "silence: "),
    "clipping": ("clip.wav", lambda path: soundfile.write(path, np.sign(tone()), RATE), {}, "clipping: "),
    "telephone rate": ("slow.wav", lambda path: write_audio(path, rate=4000), {}, "low sample rate: 4000 Hz"),
    "text too long for its audio": ("fast.wav", write_audio, {"text": "word " * 50}, "text and audio do not match: "),
    "text too short for its audio": (
        "drawl.wav",
        lambda path: write_audio(path, 20.0),
        {"text": "a"},
        "text and audio",
    ),
    "FLAC called WAV": ("named.wav", lambda path: shutil.copy(write_audio(path.with_name("n.flac")), path), {}, None),
    "8 bit": ("eight.wav", lambda path: write_audio(path, subtype="PCM_U8"), {}, None),
    "48 kHz stereo": ("stereo.flac", lambda path: write_audio(path, rate=48_000, channels=2), {}, None),
    "Windows line end": ("crlf.wav", write_audio, {"keywords": "zorvan\r"}, None),
    "Latin-1 transcript": ("latin.wav", write_audio, {"text": "caf\udce9"}, "not UTF-8: "),
    "letters the tokenizer lacks": ("letters.wav", write_audio, {"text": "漢字 ok"}, "letters outside the tokenizer: "),
    "no transcript": ("empty.wav", write_audio, {"text": " ... "}, "the transcript is empty"),
    "marker in the transcript": ("marker.wav", write_audio, {"text": "<|im_end|>"}, "a marker inside the transcript"),
    "marker in a keyword": ("kw.wav", write_audio, {"keywords": "<|endofcontext|>"}, "unusable keyword: the marker"),
    "comma in a keyword": ("comma.wav", write_audio, {"keywords": '"smith, john"'}, "unusable keyword: a comma"),
    "control character in a keyword": ("ctrl.wav", write_audio, {"keywords": "a\x00b"}, "unusable keyword: a control"),
    "no recording": ("missing.wav", lambda path: None, {}, "no audio file: "),
    "duplicate id": ("twice.wav", write_audio, {"id": "good0"}, "duplicate id: also at "),
    "no id": ("anonymous.wav", write_audio, {"id": ""}, "the id is empty"),
    "id too long": ("longid.wav", write_audio, {"id": "x" * 300}, "the id cannot name a file: "),
    "absolute path outside": ("absolute.wav", write_audio, {"audio": "/etc/passwd"}, "the path escapes the folder: "),
    "dots": ("dots.wav", write_audio, {"audio": "../secret.wav"}, "the path escapes the folder: "),
    "link to the outside": ("outside.wav", outside, {}, "the path escapes the folder: "),
    "loop of links": ("loop.wav", loop, {"audio": "loop.wav"}, ("unusable path: ", "no audio file: ")),
    "folder for a file": ("folder.wav", Path.mkdir, {"audio": "folder.wav"}, "no audio file: "),
    "unknown split": ("split.wav", write_audio, {"split": "valid"}, "unknown split: "),
    "10 MB line": ("long.wav", write_audio, {"text": "word " * (2 * LONGEST_LINE)}, "the line is too long: "),
}
COLUMNS = ("id", "text", "keywords", "split", "audio")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All kinds in one folder, between good recordings: `(card, quarantine by line, accepted by id, line by kind)`."""
    base = tmp_path_factory.mktemp("broken")
    folder = base / "talks"
    folder.mkdir()
    rows, lines = [], {}
    for number, split in enumerate(SPLITS):
        write_audio(folder / f"good{number}.wav", seed=number)
        rows.append({"id": f"good{number}", "split": split})
    for name, (file, make, cells, _) in KINDS.items():
        make(folder / file)
        lines[name] = len(rows) + 2
        rows.append({"id": Path(file).stem, "split": "train"} | cells)
    rows.append({"id": "good9", "split": "train"})
    write_audio(folder / "good9.wav", seed=9)
    defaults = {"text": TEXT, "keywords": "zorvan, meyer"}
    table = ["\ufeff" + "\t".join(COLUMNS), *("\t".join((defaults | row).get(c, "") for c in COLUMNS) for row in rows)]
    (folder / "list.tsv").write_bytes("\n".join(table).encode("utf-8", errors="surrogateescape"))
    (base / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    section = PrepareSection(
        source="folder", folder={"root": str(folder)}, checks={"tokenizer": str(base)}, reject_share=1.0, workers=1
    )
    card = prepare_corpus(section, base / "prepared", base / "cache")
    quarantine = [json.loads(line) for line in (base / "prepared" / "quarantine.jsonl").read_text().splitlines()]
    accepted = {utterance.id for split in SPLITS for utterance in read_manifest(base / "prepared" / f"{split}.jsonl")}
    return card, {int(item["location"].rsplit(":", 1)[1]): item for item in quarantine}, accepted, lines


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", KINDS)
def test_broken_input_is_quarantined_or_an_error(run, kind):
    _, quarantine, accepted, lines = run
    file, _, _, reason = KINDS[kind]
    if reason is None:
        assert Path(file).stem in accepted and lines[kind] not in quarantine
    else:
        assert quarantine[lines[kind]]["reason"].startswith(reason)


def test_nothing_is_lost_unseen(run):
    card, quarantine, accepted, _ = run
    assert card["read"] == len(KINDS) + 4 == card["accepted"] + card["rejected"]
    assert len(quarantine) == card["rejected"] == sum(card["reasons"].values())
    assert {"good0", "good1", "good2", "good9"} <= accepted and len(accepted) == card["accepted"]


def test_hours_are_counted_in_out_and_by_reason(run):
    card = run[0]
    assert card["hours_rejected"]["unusable audio"] == pytest.approx(3, abs=0.01)  # the three hours
    assert card["hours_rejected"]["text and audio do not match"] == pytest.approx(21 / 3600, abs=1e-4)
    assert card["hours_in"] == pytest.approx(card["hours"] + sum(card["hours_rejected"].values()), abs=1e-3)


def entries(folder: Path, count: int) -> list[Entry]:
    audio = write_audio(folder / "one.wav", 3.0)
    return [
        Entry(f"u{n}", f"list:{n}", audio, TEXT, ("zorvan",), SPLITS[n % 3], start=n * 0.01, end=1 + n * 0.01)
        for n in range(count)
    ]


def test_the_number_of_processes_does_not_change_the_output(tmp_path):
    """Chunks go to two processes and come back in order; the stretches of one recording are cut where they say."""
    for workers in (1, 2):
        section = PrepareSection(source="folder", folder={"root": "x"}, workers=workers)
        ingest(entries(tmp_path, 150), section, tmp_path / str(workers), tmp_path / f"cache{workers}", "x")
    first = {path.relative_to(tmp_path / "1"): path.read_bytes() for path in (tmp_path / "1").rglob("*.*")}
    second = {path.relative_to(tmp_path / "2"): path.read_bytes() for path in (tmp_path / "2").rglob("*.*")}
    assert first == second and len(first) == 150 + 6
    heard, _ = soundfile.read(tmp_path / "1" / "audio" / "u7.flac")
    whole, _ = soundfile.read(tmp_path / "one.wav")
    assert np.abs(heard - whole[1120:17120]).max() < 1e-3


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    section = PrepareSection(source="folder", folder={"root": "x"}, workers=1)
    calls = []

    def killed(*arguments, **options):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(options["start"])
        return load(*arguments, **options)

    load = module.load_audio
    monkeypatch.setattr(module, "load_audio", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest(entries(tmp_path, 9), section, tmp_path / "prepared", tmp_path / "cache", "x")
    assert not (tmp_path / "prepared").exists()
    monkeypatch.setattr(module, "load_audio", lambda *a, **o: calls.append(o["start"]) or load(*a, **o))
    ingest(entries(tmp_path, 9), section, tmp_path / "prepared", tmp_path / "cache", "x")
    assert calls == [n * 0.01 for n in range(9)]


def test_changed_audio_is_converted_again(tmp_path):
    section = PrepareSection(source="folder", folder={"root": "x"}, workers=1)
    ingest(entries(tmp_path, 3), section, tmp_path / "prepared", tmp_path / "cache", "x")
    before = (tmp_path / "prepared" / "audio" / "u0.flac").read_bytes()
    made = entries(tmp_path, 3)
    write_audio(tmp_path / "one.wav", 3.0, seed=5)
    ingest(made, section, tmp_path / "prepared", tmp_path / "cache", "x")
    assert (tmp_path / "prepared" / "audio" / "u0.flac").read_bytes() != before


def test_too_many_rejected_leave_the_reasons_behind(tmp_path):
    section = PrepareSection(source="folder", folder={"root": "x"}, reject_share=0.1, workers=1)
    broken = [Entry(f"b{n}", f"list:{n}", tmp_path / "no.wav", TEXT) for n in range(4)]
    with pytest.raises(
        InputError, match=r"4 of 10 records were rejected.*; all rejected .* in .*cache/quarantine.jsonl"
    ):
        ingest([*entries(tmp_path, 6), *broken], section, tmp_path / "prepared", tmp_path / "cache", "x")
    assert len((tmp_path / "cache" / "quarantine.jsonl").read_text().splitlines()) == 4
    assert not (tmp_path / "prepared").exists()


def test_ids_whose_files_are_in_each_others_way_are_quarantined(tmp_path):
    made = entries(tmp_path, 5)
    made += [replace(made[0], id="x"), replace(made[0], id="x.flac/y"), replace(made[0], id="X")]
    section = PrepareSection(source="folder", folder={"root": "x"}, workers=1)
    card = ingest(made, section, tmp_path / "prepared", tmp_path / "cache", "x")
    assert card["reasons"] == {"the id cannot name a file": 1, "duplicate id": 1}
