"""The corpus over Kubeflow's fan-out, run on this machine, equals the output of a single machine."""

import builtins
from pathlib import Path

import pytest
from kfp import dsl, local
from ruamel.yaml import YAML
from trees import kaldi

from components import flow as steps
from pipelines.running import compile_pipeline
from sap2 import stages
from sap2.params import PrepareSection, load_params

ROOT = Path(__file__).parent.parent.parent


@dsl.pipeline(name="parts")
def fan_out(prepare: dict):
    with dsl.ParallelFor(["0/2", "1/2"], name="parts") as part:
        share = steps.prepare_part(prepare=prepare, part=part)
    steps.join_parts(prepare=prepare, parts=dsl.Collected(share.outputs["corpus_part"]))


def test_two_pods_write_the_output_of_a_single_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(builtins, "print", print)  # KFP's runner may leave its own, see pipelines.running
    for split, count in (("train", 100), ("dev", 3), ("test", 3)):
        utterances = [(f"{split}-{n}", n * 0.05, n * 0.05 + 1, f"HELLO WORD {n}") for n in range(count)]
        kaldi(tmp_path / "corpus" / split, tmp_path / "corpus", {f"talk-{split}": utterances})
    section = PrepareSection(source="kaldi", kaldi={"root": str(tmp_path / "corpus")}, workers=1)
    stages.prepare(section, tmp_path / "alone", tmp_path / "cache")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "artifacts"))
    fan_out(prepare=section.model_dump(mode="json", exclude_none=True))
    [joined] = (tmp_path / "artifacts").glob("*/join-parts/prepared")

    def files(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files(joined) == files(tmp_path / "alone")


@pytest.mark.parametrize(
    ("parts", "steps_named"), [(1, ["comp-prepare"]), (3, ["comp-join-parts", "comp-prepare-part"])]
)
def test_the_pipeline_fans_out_as_the_resources_say(parts, steps_named, tmp_path):
    params = load_params(ROOT / "params.yaml", "test", [f"resources.prepare_parts={parts}"])
    compiled = compile_pipeline("train-and-evaluate", params, tmp_path / "flow.yaml").read_text(encoding="utf-8")
    made = next(YAML(typ="safe").load_all(compiled))["components"]
    assert [name for name in made if name in ("comp-prepare", "comp-prepare-part", "comp-join-parts")] == steps_named
