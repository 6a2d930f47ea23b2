"""The command line starts quickly, reports errors in a single line, and has stable exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sap2 import __version__, cli
from sap2.errors import InputError, Stopped

ROOT = Path(__file__).parent.parent
COMMANDS = [
    "prepare",
    "lists",
    "fetch",
    "export",
    "base",
    "train-pruner",
    "prune",
    "train-recogniser",
    "decode",
    "settings",
    "evaluate",
    "register",
    "resend",
    "promote",
    "rollback",
    "models",
    "reproduce",
    "push-to-hub",
    "transcribe",
    "talk",
    "index",
    "keywords",
    "demo",
    "serve",
    "monitor",
    "score",
    "compare",
    "plan",
    "import-adapter",
    "export-adapter",
    "trainjob",
    "feedback",
    "pipeline",
]


def sap2(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "sap2", *arguments], capture_output=True, text=True, cwd=cwd)


def test_help_names_every_command():
    done = sap2("--help")
    assert done.returncode == 0
    listed = done.stdout.split("Commands:")[1]
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "][
        : len(COMMANDS)
    ] == COMMANDS
    assert "..." not in listed, "a command's first line is too long for the list"


def test_help_imports_no_heavy_package():
    code = "import sys, sap2.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.split()
    heavy = {"torch", "transformers", "mlflow", "numpy", "pydantic", "librosa", "rich", "ruamel", "sap2.stages"}
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    shown = CliRunner().invoke(cli.app, [command, "--help"], prog_name="sap2")
    assert shown.exit_code == 0
    assert "Example: " in shown.output
    assert f"sap2 {command}" in shown.output


def test_help_imports_only_the_commands():
    code = "import sys, sap2.cli; print(*(name for name in sys.modules if name.startswith('sap2.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.split()
    assert {name for name in loaded if not name.startswith("sap2.cli")} == {"sap2.errors"}


def test_version_is_printed():
    shown = CliRunner().invoke(cli.app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"sap2 {__version__}\n")


def test_commands_run_in_the_given_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "params.yaml").write_text("profiles: {here: {}}\n", encoding="utf-8")
    failed = CliRunner().invoke(cli.app, ["-C", str(tmp_path), "decode", "--profile", "there"])
    assert "params.yaml: no profile 'there'; it has default, here" in str(failed.exception)
    failed = CliRunner().invoke(cli.app, ["--directory", str(tmp_path / "nowhere"), "decode"])
    assert "nowhere: No such file or directory" in str(failed.exception)


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["prepare", "--bogus"], ["transcribe"], ["prune", "extra"], ["score"], ["compare", "a"]]
)
def test_bad_usage_exits_2(arguments):
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "--source", "nowhere"], "sap2: nowhere: no such folder; it must hold"),
        (["decode", "-S", "inference.beams=2"], "sap2: --set inference.beams=2: unknown key inference.beams"),
        (["prune", "--params", "no.yaml"], "sap2: no.yaml: no such file; run in the repository's folder"),
        (["prune", "--profile", "tset"], "sap2: params.yaml: no profile 'tset'; it has default, test"),
        (["transcribe", "nothing.wav"], "sap2: nothing.wav: no such file"),
        (["transcribe", "a.wav", "--keywords-file", "no.txt"], "sap2: no.txt: no such file"),
        (["index", "no.txt"], "sap2: no.txt: no such file"),
        (["index", "/dev/null", "--output", "no.index"], "sap2: /dev/null: holds no keyword, expected at least one"),
        (["index", "NOTICE", "--output", "NOTICE"], "sap2: NOTICE: is the list itself; give another --output"),
        (["transcribe", "params.yaml"], "sap2: params.yaml: cannot be read as audio"),
        (["score", "no.tsv"], "sap2: no.tsv: no such file"),
        (["score", "LICENSE"], "sap2: LICENSE:"),
        (["compare", "LICENSE", "NOTICE", "--ref", "no.tsv"], "sap2: LICENSE:"),
    ],
)
def test_bad_input_is_a_single_line_on_stderr_and_exits_1(arguments, message):
    done = sap2(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_errors_of_any_package_become_a_single_line(monkeypatch, capsys):
    def fail(prog_name):
        raise InputError("a.jsonl:1: first\n  second")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "sap2: a.jsonl:1: first second\n"


def test_transcripts_are_printed_with_found_keywords(monkeypatch, tmp_path):
    from sap2 import stages
    from sap2.transcripts.transcript import Segment, Transcript

    calls = {}

    def answer(files, keywords, model, pruner_model, overrides):
        calls.update(files=files, keywords=keywords, model=model, pruner_model=pruner_model, overrides=overrides)
        for path in files:
            if path.name == "bad.wav":
                yield path, InputError(f"{path}: no such file")
            else:
                segments = [Segment(0.0, 1.25, "ask meyer")]
                yield path, Transcript("ask meyer", ["Meyer"], ["Meyer"], {"audio": 1.25}, segments=segments)

    monkeypatch.setattr(stages, "transcribe_files", answer)
    run = CliRunner().invoke
    shown = run(cli.app, ["transcribe", "a.wav", "--keywords", "Meyer, Zorvan", "--show-keywords"])
    assert (shown.exit_code, shown.stdout) == (0, "ask meyer\n  keywords found: Meyer\n")
    assert calls == {
        "files": [Path("a.wav")], "keywords": ["Meyer", "Zorvan"], "model": "models", "pruner_model": None,
        "overrides": [],
    }  # fmt: skip

    shown = run(cli.app, ["transcribe", "a.wav", "--format", "srt"])
    assert (shown.exit_code, shown.stdout) == (0, "1\n00:00:00,000 --> 00:00:01,250\nask meyer\n\n")
    shown = run(cli.app, ["transcribe", "a.wav", "--format", "json"])
    assert json.loads(shown.stdout)["segments"] == [
        {"id": 0, "start": 0.0, "end": 1.25, "text": "ask meyer", "confidence": None, "doubtful": False}
    ]
    assert run(cli.app, ["transcribe", "a.wav", "b.wav", "--format", "vtt"]).exit_code == 2

    shown = run(cli.app, ["transcribe", "a.wav", "bad.wav", "b.wav", "--model", "models:/sap2-asr/1"])
    assert (shown.exit_code, shown.stdout) == (1, "a.wav: ask meyer\nb.wav: ask meyer\n")
    assert shown.stderr == "sap2: bad.wav: no such file\n"
    assert calls["model"] == "models:/sap2-asr/1"
    run(cli.app, ["transcribe", "a.wav", "--pruner-model", "stage-1", "--model", "stage-2"])
    assert (calls["pruner_model"], calls["model"]) == ("stage-1", "stage-2")
    changes = ["-S", "inference.num_beams=4", "--max-segment", "20", "--segment-overlap", "0"]
    run(cli.app, ["transcribe", "a.wav", *changes])
    assert calls["overrides"] == [
        "inference.num_beams=4", "inference.max_segment=20.0", "inference.segment_overlap=0.0",
    ]  # fmt: skip


def test_serve_and_demo_accept_changes_to_the_models_settings(monkeypatch, tmp_path):
    from sap2 import stages
    from sap2.serving import server

    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", lambda *given: calls.append(given[-1]))
    monkeypatch.setattr(stages, "demo", lambda *given: calls.append(given[-1]))
    changes = ["-S", "inference.num_beams=4"]
    assert CliRunner().invoke(cli.app, ["serve", *changes, "-S", "tracking.experiment=x"]).exit_code == 0
    assert CliRunner().invoke(cli.app, ["demo", *changes, "--max-segment", "5"]).exit_code == 0
    assert calls == [["inference.num_beams=4"], ["inference.num_beams=4", "inference.max_segment=5.0"]]


@pytest.mark.parametrize(("promoted", "code"), [(True, 0), (False, 3)])
def test_rejection_by_the_gate_exits_3_with_the_table_on_stdout(monkeypatch, promoted, code):
    from sap2 import stages

    summary = stages.Summary("promote", [], {"promoted": promoted, "rules": "the table"})
    monkeypatch.setattr(stages, "promote", lambda *given: summary)
    shown = CliRunner().invoke(cli.app, ["promote", "7"])
    assert (shown.exit_code, shown.stderr) == (code, "") and "the table" in shown.stdout


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ref.tsv").write_text('a\task jon\t["jon"]\t["jon", "meyer"]\nb\tbye\t[]\t["jon"]\n')
    (tmp_path / "first.trn").write_text("ask john (a)\nbye (b)\n")
    (tmp_path / "second.txt").write_text("b bye\na ask jon\n")
    return tmp_path


def test_a_file_is_scored_printed_and_written(files):
    run = ["score", "first.trn", "--ref", "ref.tsv", "--json", "out.json", "--report", "out.html", "--samples", "20"]
    done = sap2(*run, cwd=files)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("first\n")
    assert "B-WER  100.00" in done.stdout
    assert "normaliser: none (text and list as they are)" in done.stdout
    assert json.loads((files / "out.json").read_text())["systems"][0]["counts"]["biased"]["substitutions"] == 1
    assert (files / "out.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_systems_are_compared_with_the_first(files):
    done = sap2("compare", "first.trn", "second.txt", "--ref", "ref.tsv", "--json", "out.json", cwd=files)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("second compared with first\n")
    assert "jon: now found in a" in done.stdout
    assert json.loads((files / "out.json").read_text())[0]["better"] == [{"id": "a", "errors_a": 1, "errors_b": 0}]


def test_missing_utterances_are_named_or_counted_as_deletions(files):
    (files / "part.txt").write_text("a ask jon\n")
    done = sap2("score", "part.txt", "--ref", "ref.tsv", cwd=files)
    assert done.returncode == 1
    assert done.stderr.startswith("sap2: part.txt: b missing (line 2 of ref.tsv); got 1 utterances, expected the 2")
    done = sap2("score", "part.txt", "--ref", "ref.tsv", "--missing-as-deletions", cwd=files)
    assert "1 missing utterances counted as deletions: b" in done.stdout


WITHOUT_EXTRA = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "mlflow", "ruamel", "librosa", "pandas",
                                      "soundfile", "matplotlib", "peft", "dvc", "tqdm"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from sap2.cli import main
main()
"""


def without_extra(*arguments, cwd):
    return subprocess.run([sys.executable, "-c", WITHOUT_EXTRA, *arguments], capture_output=True, text=True, cwd=cwd)


def test_scoring_works_without_the_extra_pipeline(files):
    done = without_extra("score", "first.trn", "--ref", "ref.tsv", "--report", "out.html", cwd=files)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_extra("compare", "first.trn", "second.txt", "--ref", "ref.tsv", cwd=files).returncode == 0


def test_a_missing_extra_is_an_error_with_its_installation(files):
    done = without_extra("evaluate", cwd=files)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sap2: this command needs ")
    assert done.stderr.endswith("which is not installed; run \"pip install 'sap2-asr[pipeline]'\"\n")


def test_an_incomplete_models_folder_is_an_error_with_its_gaps(tmp_path):
    import numpy as np

    from sap2.data.audio import save_audio

    save_audio(tmp_path / "a.wav", np.zeros(16_000))
    (tmp_path / "models" / "base").mkdir(parents=True)
    done = sap2("transcribe", "a.wav", cwd=tmp_path)
    assert done.returncode == 1
    assert "models: has no pruner and no recogniser, expected the folders base, pruner and recogniser" in done.stderr


def test_every_command_is_a_typer_command():
    names = list(typer.main.get_command(cli.app).commands)
    assert names == COMMANDS


@pytest.mark.parametrize(
    "error, message",
    [
        (
            MemoryError(),
            "out of memory (of this machine); lower the stage's batch_size, or provide more memory",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes\n a page"),
            "can't allocate memory: 9 bytes);",
        ),
    ],
)
def test_out_of_memory_is_a_single_sentence(monkeypatch, capsys, error, message):
    def fails(**_):
        raise error

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1 and message in capsys.readouterr().err


def test_other_runtime_errors_are_not_reported_as_out_of_memory(monkeypatch):
    def fails(**_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


def test_a_stopped_training_exits_with_143(monkeypatch, capsys):
    def fails(**_):
        raise Stopped("pruner: stopped at step 3")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 143 and capsys.readouterr().err == "sap2: pruner: stopped at step 3\n"
