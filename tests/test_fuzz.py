"""Any input is read as data or rejected with an error of ours: it never causes a crash, a hang or a special token.

Every run has a few hundred cases, `make fuzz` more than 100,000; its last results are in docs/operations.md.
"""

import io
import json
import os
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sap2.data.biasing import read_list, read_published, read_words
from sap2.data.entries import Entry, fields_by_id
from sap2.data.folder import read as read_folder
from sap2.data.quarantine import Rejected
from sap2.data.slides import read_slides
from sap2.data.swift import _entries as swift_entries
from sap2.errors import InputError, ParamsError
from sap2.evaluation.reading import read_lists, read_source, read_training
from sap2.manifest import MARKER, Utterance, read_manifest
from sap2.params import Params, PrepareSection, SwiftSource, load_params
from sap2.prompts import joint_target, match_pieces, parse_joint, parse_selection
from sap2.serving.keeping import requests
from sap2.slides.keywords import Keyword, deck_keywords, read_keywords
from sap2.slides.reading import read_deck
from sap2.slides.timing import read_times

CASES = int(os.environ.get("SAP2_FUZZ_CASES", "40"))  # per property
HANG = 20_000  # ms per case, on a busy machine


def fuzzed(**strategies):
    def wrap(test):
        checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
        chosen = settings(max_examples=CASES, deadline=HANG, suppress_health_check=checks, database=None)
        return chosen(given(**strategies)(test))

    return wrap


MARKERS = [
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|startofcontext|>",
    "<|endofcontext|>",
    "<|endoftext|>",
    "<audio>",
]
# Elements of the formats: separators, brackets, numbers without end, halves of surrogate pairs.
PIECES = st.sampled_from(
    [*MARKERS, "\t", "\n", "\r\n", "\0", "\ufeff", "\u2028", "\\ud800", "[", "]", "{", "}", '"', "'", ",", ":",
     "(", ")",
     "-->", "00:00:01.000", "1e999", "NaN", "null", "9" * 5000, "<!--", "```", "![", "](", "@", "://", "{\\", "id",
     "text", "keywords", "page\tkeyword\n", "Selected keywords are: ", "Transcription:", "none", "."]
)  # fmt: skip
NOISE = st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=30).map("".join)
WORDS = st.text(string.ascii_letters + " ,.'<|>é漢\u0301\u200b\t", max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NOISE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ROW = {"id": "a", "audio": "a.wav", "duration": 1.5, "text": "ask meyer", "keywords": ["meyer"], "predicted": []}
KEPT = {
    "id": "a", "at": "2026-01-02T03:04:05", "audio": "audio/a.flac", "duration": 1.0, "keywords": ["x"], "text": "x",
    "predicted": [], "found": [], "scores": {"x": -0.5},
}  # fmt: skip
TURNS = {
    "messages": [
        {"role": "user", "content": "<audio>a.wav</audio>Transcribe. <|startofcontext|>a, b<|endofcontext|>"},
        {"role": "assistant", "content": "hi"},
    ],
    "audios": "a.wav",
}


def spoilt(row: dict):
    """Valid rows with some fields replaced by arbitrary values, or removed."""
    changed = st.dictionaries(st.sampled_from([*row, "extra"]), JSON, max_size=3)
    gone = st.sets(st.sampled_from(list(row)), max_size=1)
    return st.tuples(changed, gone).map(lambda value: {k: v for k, v in (row | value[0]).items() if k not in value[1]})


def lines(row: dict):
    """Files of JSON lines, some spoilt, some not JSON."""
    written = spoilt(row).map(json.dumps) | spoilt(row).map(lambda value: json.dumps(value, ensure_ascii=False)) | NOISE
    return st.lists(written, max_size=4).map("\n".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def written(folder, text: str, name: str = "x"):
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def tried(read, *arguments, error=InputError):
    """Return the result of `read`; None after an error of ours, which must have a message."""
    try:
        return read(*arguments)
    except error as refusal:
        assert str(refusal).strip()
        return None


@fuzzed(text=lines(ROW))
def test_manifests(folder, text):
    for utterance in tried(read_manifest, written(folder, text)) or ():
        assert utterance.text.split() and 0 < utterance.duration < float("inf")
        assert not any(
            MARKER.search(keyword) or "," in keyword for keyword in [*utterance.keywords, *(utterance.predicted or ())]
        )
        assert Utterance.model_validate_json(utterance.model_dump_json()) == utterance


@fuzzed(text=lines(KEPT))
def test_stored_requests(folder, text):
    from sap2.tracking.monitoring import drift

    written(folder, text, "requests.jsonl")
    if rows := tried(requests, folder):
        drift(rows, {"a": "x"})


@fuzzed(text=lines(TURNS) | NOISE.map(lambda text: f"[{text}") | st.lists(spoilt(TURNS), max_size=3).map(json.dumps))
def test_message_rows(folder, text):
    (folder / "a.wav").touch()
    path = written(folder, text, "rows.json")
    read = tried(lambda: list(swift_entries(SwiftSource(root=str(folder)), [("train", path)])))
    assert all(isinstance(item, Entry | Rejected) for item in read or ())


@fuzzed(text=st.one_of(NOISE, lines({**TURNS, "hypothesis": "x", "reference": "y"}), st.lists(WORDS).map("\n".join)))
def test_scored_files(folder, text):
    path = written(folder, text)
    for kind in ("hypothesis", "reference"):
        if source := tried(read_source, path, kind):
            assert all(id == row.id and id.encode() for id, row in source.rows.items())
    tried(read_lists, path)
    tried(read_training, path)


@fuzzed(text=NOISE | st.lists(st.lists(WORDS, max_size=5).map("\t".join), max_size=5).map("\n".join))
def test_tables_and_lists(folder, text):
    path = written(folder, text)
    tried(fields_by_id, path)
    tried(read_published, path)
    tried(read_words, path)
    tried(read_times, path)
    read_slides(path, frozenset())
    for word in tried(read_list, text, path) or ():
        assert word == " ".join(word.split()) and not MARKER.search(word)
    for item in tried(read_keywords, text, "x") or ():
        assert isinstance(item, Keyword) and item.page >= 0 and not MARKER.search(item.keyword)


@fuzzed(cells=st.lists(st.lists(st.one_of(WORDS, NOISE), min_size=3, max_size=9).map("\t".join), max_size=4))
def test_a_folders_table(folder, cells):
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    (corpus / "a.wav").touch()
    header = "id\ttext\tkeywords\tsplit\taudio\tspeaker\ttalk\tsubtitles\tslides"
    (corpus / "list.tsv").write_bytes("\n".join([header, *cells]).encode("utf-8", "surrogatepass"))
    entries, _ = read_folder(PrepareSection(source="folder", folder={"root": str(corpus)}))
    assert all(isinstance(entry, Entry | Rejected) for entry in entries)


@fuzzed(answer=st.one_of(NOISE, WORDS), listed=st.lists(st.one_of(WORDS, NOISE), max_size=8))
def test_answers(answer, listed):
    selected, unknown = parse_selection(answer, listed)
    assert set(selected) <= set(listed) and len(set(selected)) == len(selected)
    assert not set(unknown) & set(listed) or not selected or set(unknown).isdisjoint(selected)
    assert all(match is None or match in listed for _, match in match_pieces(answer, listed))
    assert set(parse_joint(answer, listed)[0]) <= set(listed)
    assert parse_joint(joint_target(selected, "ask"), selected)[2] == "ask" or any(
        "Transcription:" in word for word in listed
    )


@fuzzed(
    override=st.one_of(
        NOISE,
        st.tuples(
            st.sampled_from([f"{section}.{key}" for section in ("prepare", "pruner", "inference", "resources")
                             for key in Params.model_fields[section].annotation.model_fields]),
            st.one_of(NOISE, WORDS),
        ).map("=".join),
    )
)  # fmt: skip
def test_params(folder, override):
    path = written(folder, "profiles: {a: {}}\n", "params.yaml")
    assert isinstance(tried(load_params, path, "a", [override], error=ParamsError), Params | None)


@pytest.mark.parametrize("ending", ["txt", "md", "html", "csv", "bib"])
@fuzzed(text=st.one_of(NOISE, st.tuples(PIECES, st.integers(1, 300)).map(lambda value: (value[0] * value[1])[:20_000])))
def test_decks(folder, ending, text):
    if (deck := tried(read_deck, written(folder, text, f"a.{ending}"))) is not None:
        for entry in deck_keywords(deck):
            assert not MARKER.search(entry.keyword)


# ---- prompts: data never becomes a special token of the prompt ------------------------------------------------------


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    from tiny import build_tiny_base

    from sap2.model import load_processor

    return load_processor(build_tiny_base(tmp_path_factory.mktemp("base")))


@fuzzed(words=st.lists(st.one_of(st.sampled_from(MARKERS), NOISE, WORDS), max_size=6), target=st.one_of(NOISE, WORDS))
def test_no_special_token_from_data(processor, words, target):
    from sap2.prompts import pruning_prompt

    words, target = ([item.encode("utf-8", "replace").decode()[:300] for item in given] for given in (words, [target]))
    special = set(processor.tokenizer.all_special_ids) | set(processor.tokenizer.added_tokens_decoder)
    assert not special & set(processor.tokenise_context(words)[0])
    ids = processor([pruning_prompt()], [words], targets=target)["input_ids"][0].tolist()
    plain = processor([pruning_prompt()], [["a"]], targets=["a"])["input_ids"][0].tolist()
    placeholder = processor.tokenizer.convert_tokens_to_ids(processor.context_tokens[2])
    assert all(ids.count(token) == plain.count(token) for token in special - {placeholder})


# ---- HTTP ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    import time

    from fastapi.testclient import TestClient
    from transcription_server import Model, Source

    from sap2.serving.app import create_app
    from sap2.serving.limits import Limits

    with TestClient(create_app(Source(Model()), Limits(batch_wait=0.0)), raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        yield client


FIELDS = ["file", "keywords", "prompt", "model", "response_format", "language", "temperature", "stream", "x\0", ""]
PARTS = st.lists(
    st.tuples(
        st.sampled_from(FIELDS),
        st.binary(max_size=40) | NOISE.map(lambda text: text.encode("utf-8", "replace")),
        st.none() | st.text(max_size=10),
    ),
    max_size=5,
)  # fmt: skip


@fuzzed(
    parts=PARTS,
    kind=st.sampled_from(["multipart/form-data; boundary=b", "multipart/form-data", "a/b"]),
    good=st.booleans(),
)
def test_http(client, recording, parts, kind, good):
    body = io.BytesIO()
    for name, content, file in [*parts, *([("file", recording, "a.wav")] if good else [])]:
        named = "" if file is None else f'; filename="{file}"'
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        body.write(head.encode("utf-8", "replace") + content + b"\r\n")
    body.write(b"--b--\r\n")
    for path in ("", "/batch"):
        sent = {"content-type": kind}
        answer = client.post(f"/v1/audio/transcriptions{path}", content=body.getvalue(), headers=sent)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    import numpy as np

    from sap2.data.audio import save_audio

    path = tmp_path_factory.mktemp("audio") / "a.wav"
    save_audio(path, 0.1 * np.sin(np.arange(3200) / 10))
    return path.read_bytes()


SIGNATURES = [
    b"\0\0\0\x20ftypM4A ", b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR\n",
    b"RIFF\0\0\0\0WAVE", b"ID3\4\0\0\0\0\0\0",
]  # fmt: skip


@fuzzed(start=st.sampled_from([*SIGNATURES, b""]), content=st.binary(max_size=400))
def test_recordings(folder, start, content):
    from sap2.data.audio import load_audio, read_duration

    path = folder / "a.m4a"
    path.write_bytes(start + content)
    tried(load_audio, path)
    tried(read_duration, path)
