"""Catalogue of bad input: every command and the server, with the expected error messages.

Cases of other suites (broken recordings, requests, decks, model folders, params) have the same mark and are not
repeated here: `pytest -m bad_input` runs all of them.
"""

import contextlib
import gc
import io
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from sap2 import cli

pytestmark = pytest.mark.bad_input

ROOT = Path(__file__).parent.parent
UTTERANCE = '{"id": "a", "audio": "a.wav", "duration": 1.0, "text": "ask meyer", "keywords": ["meyer"]}\n'
RESULT = '{"id": "a", "hypothesis": "x", "reference": "y", "keywords": ["y"]}\n'
KEPT = (
    '{"id": "a", "at": "2026-01-02T03:04:05+00:00", "model": "m", "audio": "audio/a.flac", "duration": 1.0, '
    '"keywords": ["x"], "text": "x", "predicted": [], "found": [], "scores": {}}\n'
)
DEEP = "[" * 100_000
# How Python's json reports it: from 3.14 on it measures the stack instead of counting calls.
TOO_DEEP = "Stack overflow (used" if sys.version_info >= (3, 14) else "maximum recursion depth exceeded"
LONG = "9" * 5000
WORLD = {
    "ok.jsonl": UTTERANCE,
    "hyp.txt": "a ask jon\nb bye\n",
    "part.txt": "a ask jon\n",
    "more.txt": "a ask jon\nb bye\nc hi\n",
    "ref.tsv": 'a\task jon\t["jon"]\t["jon", "meyer"]\nb\tbye\t[]\t["jon"]\n',
    "file": "hello\n",
    "folder/.keep": "",
    "latin.txt": b"caf\xe9\n",
    "empty": "",
    # manifests
    "deep.jsonl": DEEP,
    "digits.jsonl": UTTERANCE.replace("1.0", LONG),
    "half.jsonl": UTTERANCE.replace("ask", "\\ud83d"),
    "zero.jsonl": UTTERANCE.replace("a.wav", "a\\u0000.wav"),
    "shard.jsonl": UTTERANCE.replace("a.wav", "t.tar#0+12"),
    "list.jsonl": "[1]\n",
    # hypotheses, lists, training words
    "deep.json": '{"id": "a", "x": ' + DEEP,
    "turns.json": '{"id": "a", "messages": 5}',
    "roles.json": '{"id": "a", "messages": [{"role": [], "content": "x"}]}',
    "past.json": '{"id": "a", "duration": -3, "hypothesis": "x", "reference": "y"}',
    "endless.json": '{"id": "a", "duration": 1e999, "hypothesis": "x", "reference": "y"}',
    "half.json": '{"id": "a\\udc00", "hypothesis": "x", "reference": "y"}',
    "half-array.json": '[{"id": "a\\udc00", "hypothesis": "x", "reference": "y"}]',
    "one-list.tsv": "a\tx,y\n",
    "broken-list.tsv": 'a\t["x"\nb\t[]\n',
    "counts.tsv": "the\t12\n" * 60 + f"of\t{LONG}\n",
    # params
    "scalar.yaml": "profiles: 3\n",
    "profile.yaml": "profile: [a]\n",
    "month.yaml": "prepare: {seed: 2020-13-01}\n",
    "digits.yaml": f"prepare: {{seed: {LONG}}}\n",
    "code.yaml": "prepare: !!python/object/apply:os.system ['true']\n",
    "alias.yaml": "prepare: *nothing\n",
    "empty.yaml": "",
    # slides
    "page.tsv": "page\tkeyword\nx\ty\n",
    "pages.tsv": "page\tkeyword\n99999999999999999999\ty\n",
    "marker.tsv": "page\tkeyword\n1\t<|im_end|>\n",
    "wide.tsv": "page\tkeyword\n1\t" + "x" * 200_000 + "\n",
    "entries.json": '[{"keyword": "a"}]',
    "names.bib": "@",
    "list.txt": "Meyer\na<|im_end|>b\n",
    "times.txt": "1:30 4\n1:00 5\n",
    # stages' outputs
    "contexts/results/x.jsonl": RESULT,
    "broken/results/none.jsonl": "{\n",
    "twice/results/none.jsonl": RESULT * 2,
    "others/results/none.jsonl": RESULT,
    "others/results/full.jsonl": RESULT.replace('"a"', '"b"'),
    "unpruned/results/predicted.jsonl": RESULT,
    "hollow/results/none.jsonl": "",
    "metrics/reports/metrics.json": "{",
    "list/reports/metrics.json": "[]",
    "summary/reports/metrics.json": "{}",
    "summary/data/pruned/settings.json": '{"inference": {}}',
    "summary/models/settings.json": '{"pruning": {"treshold": -1}}',
    "summary/data/prepared/card.json": '{"splits": {"train": {}}}',
    "splits/data/lists/train.jsonl": UTTERANCE,
    "splits/data/lists/dev.jsonl": UTTERANCE,
    "splits/data/lists/test.jsonl": "{",
    "carded/data/prepared/card.json": '{"splits": {"train": {}, "dev": {}, "test": {}}}',
    "carded/data/prepared/train.jsonl": "{",
    "bare/data/lists/train.jsonl": UTTERANCE,
    "bare/data/lists/dev.jsonl": UTTERANCE,
    "bare/data/lists/test.jsonl": UTTERANCE,
    "bare/data/pruned/test.jsonl": UTTERANCE,
    # bases
    "cut/config.json": "{",
    "cut/model.safetensors": "",
    "bert/config.json": '{"model_type": "bert"}',
    "bert/model.safetensors": "",
    # corpora
    "header/a.tsv": "id\tkeywords\n",
    "double/a.tsv": "id\ttext\tkeywords\tid\n",
    "latin/a.tsv": b"id\ttext\tk\xe9y\n",
    "blocked/data": "",
    "none/a.tsv": "id\ttext\tkeywords\na\thi\tx\n",
    "swift/deep.json": "[" + DEEP,
    "swift/open.json": "[{",
    # requests stored by a server
    "kept/requests.jsonl": KEPT,
    "kept-broken/requests.jsonl": "{}",
    "kept-empty/requests.jsonl": "",
    "kept-day/requests.jsonl": KEPT.replace("2026-01-02", "yesterday!"),
    "kept-score/requests.jsonl": KEPT.replace('"scores": {}', '"scores": {"x": "y"}'),
    "kept-sure/requests.jsonl": KEPT.replace('"scores": {}', '"scores": {"x": 1e9}'),
    "kept-marker/requests.jsonl": KEPT.replace('["x"]', '["<|im_end|>"]'),
    "kept-wrong/requests.jsonl": KEPT,
    "kept-wrong/corrections.jsonl": '{"id": "a"}\n',
    "kept-past/requests.jsonl": KEPT.replace("1.0", "-1"),
}
SWIFT = "prepare --source swift --root swift -S prepare.swift.dev=[b] -S prepare.swift.test=[c]"

# Command line, run in the folder before the first `/`, if any, and the beginning of stderr.
UNUSABLE = {
    # params, the same for every command
    "prune --params folder": "folder: cannot be read (Is a directory); give the file with --params FILE",
    "prune --params latin.txt": "latin.txt: not valid YAML: 'utf-8' codec can't decode byte 0xe9",
    "prune --params empty.yaml": "empty.yaml: got NoneType, expected sections such as `prepare:`",
    "prune --params scalar.yaml": "scalar.yaml: profiles is 3, expected names of profiles",
    "prune --params profile.yaml": "profile.yaml: profile is ['a'], expected a profile's name",
    "prune --params month.yaml": "month.yaml: not valid YAML: month must be in 1..12",
    "prune --params digits.yaml": "digits.yaml: not valid YAML: Exceeds the limit (4300",
    "prune --params code.yaml": "code.yaml: not valid YAML: could not determine a constructor for the tag",
    "prune --params alias.yaml": "alias.yaml: not valid YAML: found undefined alias",
    "prune --set x": "--set x: expected KEY=VALUE, such as inference.num_beams=2",
    "prune --set =1": "--set =1: expected KEY=VALUE",
    "prune --set a.b.c=1": "--set a.b.c=1: unknown key a; the nearest valid key is",
    "prune --set pruning=1": "--set pruning=1: pruning is 1, expected keys and values below it",
    "prune --set pruning.batch_size.x=1": "--set pruning.batch_size.x=1: pruning.batch_size is {'x': 1}, must be",
    "prune --set profile.x=1": "--set profile.x=1: a profile is chosen with --profile 1",
    "prune --profile nope": "params.yaml: no profile 'nope'; it has default, test, mini-librispeech, qwen3-asr-0.6b,",
    # prepare and fetch
    "prepare --source file": "file: no such folder; it must hold recordings with one TSV",
    "prepare --source folder --root folder": "folder: expected manifest.tsv or one *.tsv with the columns id and text;",
    "prepare --source header": "header/a.tsv:1: the header lacks the column text; got id, keywords, expected",
    "prepare --source double": "double/a.tsv:1: the header names a column twice",
    "prepare --source latin": "latin/a.tsv:1: not UTF-8: invalid continuation byte at byte 9 of the line",
    "prepare --source none": "none: none of 1 records is usable: none/a.tsv:2: no audio file: a.wav (or .flac, .mp3, "
    ".m4a, …) is not in the folder; all rejected records are in data/.ingested/quarantine.jsonl",
    "prepare --source librispeech": "params.yaml: prepare: source is librispeech: set librispeech.root to its folder",
    "prepare --source librispeech --root nowhere": "nowhere: no such folder; set prepare.librispeech.root to the",
    "prepare --source slidespeech --root folder": "folder/L95: no such folder; folder holds .keep; correct train,",
    "prepare --source kaldi --root folder": "folder/train: no such folder; folder holds .keep; correct train, dev or",
    "prepare --source swift --root folder": "folder/train: no such file; correct root, train, dev or test of",
    f"{SWIFT} -S prepare.swift.train=[deep.json]": "swift/b: no such file; correct root",
    "prepare --source swift --root swift -S prepare.swift.train=[deep.json] -S prepare.swift.dev=[open.json] "
    "-S prepare.swift.test=[./open.json]": f"swift/deep.json: row 1: the array is broken or ends early ({TOO_DEEP}",
    "prepare --part 0/2": "the embedded lectures cannot be prepared in parts; prepare.source must name another corpus",
    "prepare --source none --part 2/2": "part 2/2: expected 0/2 to 1/2",
    "prepare --source none --part 0/0": "part 0/0: expected at least one part, such as 0/8",
    "prepare --source none --join 2": "data/.ingested/parts-of-2/0/rows.jsonl: no such file; run the stage that",
    "fetch librispeech --to new --split nope": "LibriSpeech has no part nope; it has dev-clean",
    "fetch librispeech --to new --mirror openslr.org": "--mirror openslr.org: expected an http:// or https:// address",
    "fetch librispeech --to new --mirror file:///etc": "--mirror file:///etc: expected an http:// or https:// address",
    "fetch librispeech --to new --split dev-clean --mirror http://127.0.0.1:9": (
        "http://127.0.0.1:9/12/dev-clean.tar.gz: cannot be reached"
    ),
    # export
    "export no.jsonl out": "no.jsonl: no such file; run the stage that writes it, or correct the path",
    "export file/no.jsonl out": "file/no.jsonl: no such file; run the stage that writes it",
    "export folder out": "folder: is a folder, expected a file of JSON lines",
    "export latin.txt out": "latin.txt: not UTF-8 (invalid continuation byte at byte 3); save it as UTF-8",
    "export file out": "file:1: not JSON (Expecting value: line 1 column 1 (char 0)); expected one JSON object per",
    "export empty out": "empty: holds no utterance, expected one JSON object per line",
    "export list.jsonl out": "list.jsonl:1: got list, expected a JSON object",
    "export deep.jsonl out": f"deep.jsonl:1: not JSON ({TOO_DEEP}",
    "export digits.jsonl out": "digits.jsonl:1: not JSON (Exceeds the limit (4300",
    "export half.jsonl out": "half.jsonl:1: \\ud83d is half of a surrogate pair; write the whole character",
    "export zero.jsonl out": "zero.jsonl:1 (a): audio is 'a\\x00.wav', must not contain a zero byte",
    "export shard.jsonl out": "shard.jsonl (a): its recording is in a shard, which messages cannot name; prepare",
    "export ok.jsonl out --lists predicted": 'ok.jsonl (a): has no `predicted` list; run "sap2 prune"',
    # outputs that cannot be written
    "export ok.jsonl folder": "folder: cannot be written: Is a directory",
    "export ok.jsonl file/out": "file/out: cannot be written: Not a directory",
    "score hyp.txt --ref ref.tsv --json folder": "folder: cannot be written: Is a directory",
    "score hyp.txt --ref ref.tsv --report file/x.html": "file/x.html: cannot be written: Not a directory",
    "feedback add a hi --requests kept --manifest folder": "folder: is a folder, expected a file of JSON lines",
    "blocked/prepare --source ../none": "data/prepared: cannot be written",
    # models and stages with missing inputs
    "base -S base.path=folder": "base.path 'folder': needs config.json and *.safetensors, found nothing",
    "base -S base.path=cut": "base.path 'cut': its config.json is not a JSON object",
    "base -S base.path=bert": "base.path 'bert': model_type is 'bert', expected qwen2_audio",
    "lists": 'data/prepared/card.json: no such file; run "sap2 prepare" first',
    "carded/lists": "data/prepared/train.jsonl:1: not JSON",
    "summary/lists": 'data/prepared/card.json: not the card of a prepared set; run "sap2 prepare" first',
    "import-adapter folder out": "folder/adapter_config.json: no such file; give the folder of an adapter",
    "export-adapter folder out": "folder/adapter_config.json: no such file; give the folder of an adapter",
    "push-to-hub a/b": 'models: lacks base, pruner, recogniser, settings.json; run "dvc repro", or give the folder',
    "index none.txt": "none.txt: no such file, expected one keyword per line",
    "index list.txt": "list.txt:2: the marker <|im_end|> inside the keyword 'a<|im_end|>b'",
    "prune": "data/lists/train.jsonl: no such file; run the stage that writes it",
    "splits/prune": "data/lists/test.jsonl:1: not JSON",
    "bare/prune": 'models/base: no such folder; run "sap2 base" and the trainings',
    "decode": "data/pruned/test.jsonl: no such file; run the stage that writes it",
    "bare/decode": 'data/pruned/test.jsonl (a): 1 of 1 utterances have no `predicted`; run "sap2 prune", or remove',
    "bare/decode -S inference.contexts=[none]": 'models/base: no such folder; run "sap2 base"',
    "evaluate": 'results: has no results, expected CONTEXT.jsonl files; run "sap2 decode" first',
    "contexts/evaluate": "results/x.jsonl: expected files named after contexts, CONTEXT.jsonl of: none, full,",
    "hollow/evaluate": 'results/none.jsonl: no results, expected one line per utterance; run "sap2 decode"',
    "broken/evaluate": "results/none.jsonl:1: not JSON",
    "twice/evaluate": "results/none.jsonl:2 (a): this id is already in line 1; expected each utterance once",
    "others/evaluate": "results/full.jsonl: a missing; b not in results/none.jsonl; got 1 utterances, expected the 1",
    "unpruned/evaluate": 'results/predicted.jsonl:1 (a): field "predicted" is nothing, expected a list of strings',
    "resend nowhere.jsonl": "nowhere.jsonl: no such file; run the stage that writes it, or correct the path",
    "resend ok.jsonl": "ok.jsonl: not a file of unsent metrics; expected a name ending in",
    "register": 'reports/metrics.json: no such file; run "sap2 evaluate" first',
    "metrics/register": "reports/metrics.json: not readable as JSON",
    "list/register": 'reports/metrics.json: got list, expected a JSON object; run "sap2 evaluate" first',
    "summary/register": "models/settings.json: unknown key pruning.treshold; the nearest valid key is pruning.thres",
    "settings": 'data/pruned/settings.json: no such file; run "sap2 prune" first',
    "summary/settings": "data/pruned/settings.json: has inference, expected pruning and runtime; ",
    # registry
    "models -S tracking.uri=sqlite:///file": (
        "tracking store sqlite:///file cannot be used: file is not a SQLite database"
    ),
    "promote -S tracking.uri=ftp://a": "tracking store ftp://a cannot be used: unknown kind of store ftp://",
    "rollback -S tracking.uri=http://127.0.0.1:9": "tracking store http://127.0.0.1:9 cannot be reached",
    "reproduce 1 -S tracking.uri=sqlite:///file/x.db": "tracking store sqlite:///file/x.db cannot be used",
    # recognition and slides
    "transcribe no.wav": "no.wav: no such file",
    "transcribe folder": "folder: is a folder, expected an audio file",
    "transcribe empty": "empty: the file is empty (0 bytes), expected audio",
    "transcribe file": "file: cannot be read as audio (Format not recognised), expected WAV, FLAC, MP3, Ogg, AIFF, M4A",
    "transcribe a.wav --keywords-file folder": "folder: no such file, expected one keyword per line",
    "transcribe a.wav --keywords-file latin.txt": "latin.txt: not UTF-8",
    "transcribe a.wav --keywords-file list.txt": "list.txt:2: the marker <|im_end|> inside the keyword",
    "transcribe a.wav --keywords 'a<audio>'": "--keywords: the marker <audio> inside the keyword",
    "transcribe no.wav --slides ref.txt": "ref.txt: cannot be read (No such file or directory); correct the path",
    "transcribe a.wav --slides entries.json": "entries.json: entry 1: page is 'None', expected a number",
    "transcribe a.wav --slides hyp.txt --slide-times times.txt": "times.txt:2: 1:00 is earlier than the line before",
    "transcribe a.wav --slides hyp.txt --slide-times folder": "folder: cannot be read",
    "talk no.wav hyp.txt": "no.wav: no such file",
    "talk a.wav ref.txt": "ref.txt: cannot be read (No such file or directory); correct the path",
    "talk a.wav hyp.txt --out file": "file: is a file, expected a folder to write; name another folder with --out",
    "keywords no.pdf": "no.pdf: cannot be read (No such file or directory); correct the path",
    "keywords folder": "folder: is a folder, expected slides or text",
    "keywords latin.txt": "latin.txt: neither slides nor UTF-8 text",
    "keywords hyp.txt --language xx": "--language xx: no word frequencies for it; expected one of ar",
    "keywords page.tsv": "page.tsv:2: page is 'x', expected a number of up to 5 digits (0: all",
    "keywords pages.tsv": "pages.tsv:2: page is '99999999999999999999', expected a number",
    "keywords marker.tsv": "marker.tsv:2: the marker <|im_end|> inside the keyword",
    "keywords wide.tsv": "wide.tsv:2: field larger than field limit (131072); a keyword is a few words",
    "keywords names.bib": "names.bib: holds no names",
    # serving
    "serve --host 0.0.0.0": "--host 0.0.0.0 admits other machines, but SAP2_API_KEY is not set",
    "serve --host nowhere.invalid": "--host nowhere.invalid admits other machines, but SAP2_API_KEY is not set",
    "serve --requests file": "--requests file: cannot be written (Not a directory); name another folder",
    "monitor --requests nowhere": "nowhere/requests.jsonl: no such file",
    "monitor --requests file": "file/requests.jsonl: no such file",
    "monitor --requests kept-empty": "kept-empty/requests.jsonl: holds no answers; they come from `sap2 serve",
    "monitor --requests kept-broken": "kept-broken/requests.jsonl:1 (no id): id is missing; text is missing; at is",
    "monitor --requests kept-day": "kept-day/requests.jsonl:1 (a): at is 'yesterday!",
    "monitor --requests kept-score": "kept-score/requests.jsonl:1 (a): scores.x is 'y', must be a valid number",
    "monitor --requests kept-sure": "kept-sure/requests.jsonl:1 (a): scores.x is 1000000000.0, must be less",
    "monitor --requests kept-wrong": "kept-wrong/corrections.jsonl:1 (a): text is missing; correct or remove the line",
    "feedback add b text --requests kept": "kept/requests.jsonl: holds no answer 'b'; ids are in the answers' header",
    "feedback add a ' . ' --requests kept": "the correction ' . ' holds no word",
    "feedback add a hi --requests kept-past": "kept-past/requests.jsonl:1 (a): duration is -1, must be greater than 0",
    "feedback add a hi --requests kept-marker": "kept-marker/requests.jsonl:1 (a): keywords is ['<|im_end|>'], the",
    "feedback add a hi --requests kept --manifest file": "file:1: not JSON",
    # scoring
    "score folder": "folder: a folder, expected a file",
    "score hyp.txt": "hyp.txt:1 (a): no reference; give a file of references with --ref",
    "score hyp.txt --ref no.tsv": "no.tsv: no such file; correct the path",
    "score latin.txt --ref ref.tsv": "latin.txt:1: not UTF-8 (invalid continuation byte); save it as UTF-8",
    "score hyp.txt --ref ref.tsv --lists no.tsv": "no.tsv: no such file; correct the path",
    "score hyp.txt --ref ref.tsv --lists broken-list.tsv": "broken-list.tsv:1 (a): keywords '[\"x\"' are not a JSON",
    "score hyp.txt --ref ref.tsv --lists one-list.tsv": "one-list.tsv: b missing (line 2 of ref.tsv)",
    "score hyp.txt --ref ref.tsv --training counts.tsv": "counts.tsv:61: got 'of\\t999",
    "score hyp.txt --ref ref.tsv --unit talk": "unit: the talk of a is unknown; draw utterances",
    "score part.txt --ref ref.tsv": "part.txt: b missing (line 2 of ref.tsv)",
    "score more.txt --ref ref.tsv --missing-as-deletions": "more.txt: c not in ref.tsv (line 3 of more.txt)",
    "score deep.jsonl --ref ref.tsv": f"deep.jsonl:1: not JSON ({TOO_DEEP}",
    "score deep.json --ref ref.tsv": f"deep.json:1: not JSON ({TOO_DEEP}",
    "score digits.jsonl --ref ref.tsv": "digits.jsonl:1: not JSON (Exceeds the limit (4300",
    "score turns.json --ref ref.tsv": 'turns.json:1 (a): field "messages" is 5, expected a list of turns',
    "score roles.json --ref ref.tsv": "roles.json:1 (a): expected `messages`, a list of turns with a user's text",
    "score past.json": 'past.json:1 (a): field "duration" is -3, expected seconds of an utterance',
    "score endless.json": 'endless.json:1 (a): field "duration" is inf, expected seconds of an utterance',
    "score half.json": "half.json:1: \\udc00 is half of a surrogate pair; write the whole character",
    "score half-array.json": "half-array.json:1: \\udc00 is half of a surrogate pair",
    "compare hyp.txt no.txt --ref ref.tsv": "no.txt: no such file; correct the path",
    "compare hyp.txt hyp.txt --ref ref.tsv": "hyp.txt: given twice; give each system's file only once",
    "compare hyp.txt part.txt --ref ref.tsv": "part.txt: b missing (line 2 of ref.tsv)",
    # planning and clusters
    "plan --gpus 0": "--gpus is 0, must be above 0 and finite",
    "plan --tflops nan": "--tflops is nan, must be above 0 and finite",
    "plan --tflops inf": "--tflops is inf, must be above 0 and finite",
    "plan --utterances 0": "--utterances is 0, must be above 0 and finite",
    "plan --manifest no.jsonl": "no.jsonl: no such manifest; correct --manifest, or omit it",
    "plan --manifest file": "file:1: not JSON",
    "plan -S base.path=nowhere/at/all": "base.path is nowhere/at/all: no such folder, not in the local hub cache",
    "trainjob --name 'Bad Name'": "--name Bad Name: expected lower-case letters, digits and -",
    "trainjob --name ''": "--name : expected lower-case letters",
    "trainjob -S resources.checkpoints=null": "resources.checkpoints is null; name the volume that holds",
    "trainjob -S resources.image=a:latest": "--set resources.image=a:latest: resources.image is 'a:latest', names no",
    "trainjob -S resources.secret_name=Bad_Name": "--set resources.secret_name=Bad_Name: resources.secret_name is",
    "pipeline submit --host http://127.0.0.1:9": "http://127.0.0.1:9: no response",
    "pipeline status x --host file:///etc": "file:///etc: expected an http:// or https:// address",
}

# Invalid use of a command: exit code 2, and the reason.
MISUSED = {
    "prepare --root x": "--root is the folder of a --source; give --source, too",
    "prepare --part x": "--part x: expected N/PARTS, such as 0/8",
    f"prepare --part 0/{LONG}": "expected N/PARTS, such as 0/8",
    "prepare --part 0/2 --join 2": "--part, --join and --ray exclude each other",
    "prepare --join 0": "'--join': 0 is not in the range x>=1",
    "fetch nothing --to x": "'nothing' is not one of 'librispeech', 'slidespeech', 'sap2-metadata'",
    "fetch librispeech": "Missing option '--to'",
    "fetch slidespeech --split a --to x": "--split is for librispeech; the other corpora have no parts",
    "export ok.jsonl out --lists all": "'all' is not one of 'full', 'spoken', 'predicted'",
    "transcribe": "Missing argument 'FILE",
    "talk a.wav": "Missing argument 'DECK...'",
    "transcribe a.wav --explain": "--slide-times, --explain, --journal and --format md need --slides",
    "transcribe a.wav b.wav --slides hyp.txt": "expected a single recording with --slides, got 2",
    "transcribe a.wav b.wav --format srt": "expected a single recording for --format srt, got 2",
    "transcribe a.wav --max-segment nan": "nan is not a finite number",
    "transcribe a.wav --segment-overlap inf": "inf is not a finite number",
    "demo --port 99999": "99999 is not in the range 1<=x<=65535",
    "serve --port 0": "0 is not in the range 1<=x<=65535",
    "serve --max-minutes inf": "inf is not a finite number",
    "serve --timeout nan": "nan is not a finite number",
    "serve --queue 0": "0 is not in the range x>=1",
    "feedback add a": "Missing argument 'TEXT'",
    "score hyp.txt --samples -1": "-1 is not in the range x>=0",
    "score hyp.txt --normaliser x": "'x' is not one of 'none', 'basic', 'whisper-en'",
    "compare hyp.txt": "expected at least two files; score a single file with `sap2 score`",
    "trainjob --nodes 0": "0 is not in the range x>=1",
    "pipeline compile nothing": "'nothing' is not one of 'train-and-evaluate'",
    "pipeline run": "expected --local; to run a pipeline in a cluster, use `sap2 pipeline submit --host URL`",
    "pipeline submit": "the URL of Kubeflow Pipelines is missing; give --host",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    for name, content in WORLD.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for inner in (path for path in {Path(line.partition("/")[0]) for line in UNUSABLE} if (folder / path).is_dir()):
        shutil.copy(ROOT / "params.yaml", folder / inner)
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


@pytest.fixture
def sap2(world, monkeypatch):
    """Run a command line as `sap2` does; return exit code, stdout and stderr."""
    for name in ("SAP2_PROFILE", "SAP2_API_KEY", "MLFLOW_TRACKING_URI", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str) -> tuple[int, str, str]:
        name, slash, command = line.partition("/")
        inner = bool(slash) and " " not in name and (world / name).is_dir()
        monkeypatch.chdir(world / name if inner else world)
        monkeypatch.setattr(sys, "argv", ["sap2", *shlex.split(command if inner else line)])
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
                cli.main()
        finally:
            gc.enable()  # scoring disables it for its process
        return end.value.code, out.getvalue(), err.getvalue()

    return run


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".ingested" not in path.parts}


@pytest.mark.parametrize("line", UNUSABLE)
def test_bad_input_prints_a_single_line_and_leaves_no_files(sap2, world, line):
    before = tree(world) | {"data", "models", "new"}  # folders of outputs that were not written
    code, out, err = sap2(line)
    last = err.splitlines()[-1]
    assert last.startswith(f"sap2: {UNUSABLE[line]}") or last.startswith(UNUSABLE[line])
    assert (code, out) == (1, "") and "Traceback" not in err
    assert tree(world) <= before


@pytest.mark.parametrize("line", MISUSED, ids=lambda line: line[:60])
def test_bad_usage_exits_2_and_prints_what_is_expected(sap2, world, line):
    before = tree(world)
    code, out, err = sap2(line)
    assert (code, out) == (2, "") and MISUSED[line] in " ".join(err.split())
    assert tree(world) == before


def test_every_command_is_in_the_catalogue():
    import typer

    def lines(group, before=""):
        for name, command in group.commands.items():
            yield from lines(command, f"{name} ") if hasattr(command, "commands") else [before + name]

    known = set(lines(typer.main.get_command(cli.app)))
    assert len(known) > 25
    tried = [line.partition("/")[2] if "/" in line.split()[0] else line for line in (*UNUSABLE, *MISUSED)]
    # Bad input of trainings is tested in tests/training and tests/tracking.
    missing = {name for name in known if not any(line.startswith(name) for line in tried)}
    assert missing == {"train-pruner", "train-recogniser"}


# ---- the server ---------------------------------------------------------------------------------------------------

FORM = {"content-type": "multipart/form-data; boundary=b"}
TRANSCRIBE = "/v1/audio/transcriptions"
POST = ("POST", TRANSCRIBE, FORM)


def form(*parts: tuple) -> bytes:
    """Return a form with parts `(headers, content)`."""
    head = b"Content-Disposition: form-data; "
    body = b"".join(b"--b\r\n" + head + about.encode() + b"\r\n\r\n" + content + b"\r\n" for about, content in parts)
    return body + b"--b--\r\n"


FILE = ('name="file"; filename="a.wav"', b"no audio")
# method, path, headers, body; status and the error's message
REQUESTS = {
    "no such path": ("GET", "/v2/audio", {}, b"", 404, "Not Found"),
    "wrong method": ("DELETE", TRANSCRIBE, {}, b"", 405, "Method Not Allowed"),
    "JSON for a form": ("POST", TRANSCRIBE, {"content-type": "application/json"}, b"{}", 415, "content type is"),
    "an unprintable content type": ("POST", TRANSCRIBE, {"content-type": b"a\xff\x7f"}, b"", 415, "expected multipart"),
    "no boundary": ("POST", TRANSCRIBE, {"content-type": "multipart/form-data"}, b"x", 400, "Missing boundary"),
    "another boundary": (*POST, b"--c\r\n\r\n--c--", 400, "the form is malformed"),
    "a length of many digits": ("POST", TRANSCRIBE, FORM | {"content-length": LONG}, b"", 413, "the request has 999"),
    "a length that is not a number": ("POST", TRANSCRIBE, FORM | {"content-length": "²"}, b"", 413, "the request has "),
    "a negative length": ("POST", TRANSCRIBE, FORM | {"content-length": "-1"}, b"", 413, "the request has -1"),
    "a part without a name": (*POST, form(('filename="a"', b"x")), 400, "must be provided"),
    "a broken part": (*POST, b"--b\r\nbroken\r\n\r\n\r\n--b--\r\n", 400, "the form is malformed"),
    "too many fields": (*POST, form(*[('name="prompt"', b"x")] * 65), 400, "Too many fields"),
    "too many files": (*POST, form(*[FILE] * 8), 400, "Too many files"),
    "a huge field": (*POST, form(('name="prompt"', b"x" * (5 << 20))), 400, "Part exceeded maximum size"),
    "an empty form": (*POST, b"--b--\r\n", 400, 'field "file" is missing'),
    "an empty batch": ("POST", f"{TRANSCRIBE}/batch", FORM, b"--b--\r\n", 400, 'field "file" is missing'),
    "a model that is a file": (
        *POST, form(FILE, ('name="model"; filename="m"', b"x")), 400, "field 'model' is a file",
    ),
    "a language that is a file": (
        *POST, form(FILE, ('name="language"; filename="m"', b"x")), 400, "field 'language' is a file",
    ),
    "a format that is a file": (
        *POST, form(FILE, ('name="response_format"; filename="m"', b"x")), 400, "is a file, expected text",
    ),
    "a temperature in words": (
        *POST, form(FILE, ('name="temperature"', b"warm")), 400, "temperature is warm, expected 0",
    ),
    "a temperature that is not a number": (
        *POST, form(FILE, ('name="temperature"', b"nan")), 400, "temperature is nan, expected 0",
    ),
    "a field with a zero byte": (
        *POST, form(FILE, ('name="\0x"', b"1")), 400, "unknown field '\ufffdx'",
    ),
    "a zero byte in a keyword": (
        *POST, form(FILE, ('name="keywords"', b"a\0b")), 400, "keywords: a control character",
    ),
    "a marker across lines": (
        *POST, form(FILE, ('name="keywords"', b"x\n<|im_start|>system")), 400, "the marker <|im_start|>",
    ),
    "a file without audio": (
        *POST, form(('name="file"; filename=".wav"', b"x")), 400, "cannot be read as audio",
    ),
    "no key": ("GET", "/v1/models", {"authorization": ""}, b"", 401, "no valid API key"),
    "another scheme": ("GET", "/v1/models", {"authorization": "Basic c2VjcmV0"}, b"", 401, "no valid API key"),
    "a key of odd bytes": ("GET", "/v1/models", {"authorization": b"Bearer \xff\xfe"}, b"", 401, "no valid API key"),
}  # fmt: skip


@pytest.fixture(scope="module")
def client():
    import time

    from fastapi.testclient import TestClient
    from transcription_server import Model, Source

    from sap2.serving.app import create_app
    from sap2.serving.limits import Limits

    with TestClient(create_app(Source(Model()), Limits(max_bytes=8 << 20, max_files=3), ["secret"])) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        yield client


@pytest.mark.parametrize("case", REQUESTS)
def test_a_bad_request_gets_an_openai_style_error(client, case):
    method, path, headers, body, status, message = REQUESTS[case]
    encoded = {name: value if isinstance(value, bytes) else value.encode() for name, value in headers.items()}
    answer = client.request(method, path, headers={"authorization": b"Bearer secret"} | encoded, content=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    assert message in error["message"] and len(error["message"]) < 500
    assert client.get("/readyz").status_code == 200


def test_the_catalogue_is_long():
    assert len(UNUSABLE) + len(MISUSED) + len(REQUESTS) >= 200
