"""Every source through the commands, in the profile `test`: from its published layout to manifests with lists."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from trees import kaldi, librispeech, write_audio
from typer.testing import CliRunner

from sap2 import cli
from sap2.data.entries import SPLITS
from sap2.manifest import Utterance, audio_path, read_manifest, write_manifest
from sap2.params import source_names

ROOT = Path(__file__).parents[2]
IDS = {"train": "1-1-0000", "dev": "2-2-0000", "test": "3-3-0000"}
TEXTS = {"train": "ask zorvan", "dev": "the quilt", "test": "see kathryn"}
PARTS = [f"{split}=[{split}]" for split in SPLITS]
FILES = [f"{split}=[{split}.jsonl]" for split in SPLITS]
RARE = ["--set=lists.common_words=0"]  # in so small a corpus no word would be rare


def of_folder(root: Path) -> list[str]:
    rows = [f"{IDS[split]}\t{TEXTS[split]}\tzorvan, meyer\t{split}" for split in SPLITS]
    (root / "list.tsv").write_text("\n".join(["id\ttext\tkeywords\tsplit", *rows]))
    for id in IDS.values():
        write_audio(root / f"{id}.wav")
    return []


def of_librispeech(root: Path) -> list[str]:
    librispeech(root, {split: {IDS[split]: TEXTS[split].upper()} for split in SPLITS})
    return PARTS


def of_kaldi(root: Path) -> list[str]:
    for split in SPLITS:
        kaldi(root / split, root, {f"talk-{split}": [(IDS[split], 0.5, 2.0, TEXTS[split])]})
        (root / split / "keywords").write_text(f"{IDS[split]} zorvan, meyer\n")
    return PARTS


def of_slidespeech(root: Path) -> list[str]:
    for split in SPLITS:
        kaldi(root / split, root, {f"talk-{split}": [(IDS[split], 0.5, 2.0, TEXTS[split])]}, scp=False)
        (root / split / "keywords").write_text(f"{IDS[split]} ZORVAN$MEYER\n")
    return PARTS


def of_swift(root: Path) -> list[str]:
    for split in SPLITS:
        write_audio(root / f"{IDS[split]}.wav")
        said = f"<audio>/lab/{IDS[split]}.wav</audio>Transcribe.<|startofcontext|>zorvan, meyer<|endofcontext|>"
        turns = [{"role": "user", "content": said}, {"role": "assistant", "content": TEXTS[split]}]
        row = {"messages": turns, "audios": f"/lab/{IDS[split]}.wav"}
        (root / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    return [*FILES, f"audio_prefix={{/lab: {root}}}"]


def of_manifest(root: Path) -> list[str]:
    for split in SPLITS:
        audio = write_audio(root / "audio" / f"{IDS[split]}.wav")
        word = Utterance(
            id=IDS[split], audio=f"audio/{audio.name}", duration=1.0, text=TEXTS[split], keywords=["zorvan"]
        )
        write_manifest(root / f"{split}.jsonl", [word])
    return FILES


def of_lhotse(root: Path) -> list[str]:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    for split in SPLITS:
        recording = Recording.from_file(write_audio(root / f"{IDS[split]}.wav"), recording_id=IDS[split])
        said = SupervisionSegment(IDS[split], IDS[split], 0.0, 1.0, text=TEXTS[split], custom={"keywords": ["zorvan"]})
        cut = MonoCut(IDS[split], 0.0, 1.0, 0, [said], recording=recording)
        CutSet.from_cuts([cut]).to_file(root / f"{split}.jsonl.gz")
    return [f"{split}=[{split}.jsonl.gz]" for split in SPLITS]


READERS: dict[str, Callable[[Path], list[str]]] = {
    "folder": of_folder, "librispeech": of_librispeech, "kaldi": of_kaldi, "slidespeech": of_slidespeech,
    "swift": of_swift, "manifest": of_manifest, "lhotse": of_lhotse,
}  # fmt: skip


def test_every_source_is_tried():
    assert READERS.keys() == set(source_names()) - {"lectures"}


@pytest.mark.parametrize("source", READERS)
def test_a_source_is_prepared_and_gets_its_lists(source, tmp_path, monkeypatch):
    root = tmp_path / "corpus"
    root.mkdir()
    changes = [f"--set=prepare.{source}.{change}" for change in READERS[source](root)]
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in (["prepare", "--source", source, "--root", str(root), *changes], ["lists", *RARE]):
        done = CliRunner().invoke(cli.app, [*command, "--profile", "test"])
        assert done.exit_code == 0, done.output
    for split in SPLITS:
        manifest = Path("data/lists") / f"{split}.jsonl"
        [utterance] = read_manifest(manifest)
        assert (utterance.id, utterance.text) == (IDS[split], TEXTS[split])
        assert audio_path(utterance, manifest).is_file()
        said = TEXTS[split].split() if source == "librispeech" else ["zorvan"]  # which alone gives no keywords
        assert set(said) <= set(utterance.keywords)
