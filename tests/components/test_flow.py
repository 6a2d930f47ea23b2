"""Components, sap2.stages and dvc.yaml agree on the sections and paths a stage reads and writes."""

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from components import flow as components
from sap2 import stages
from sap2.params import Params, load_params, profile_names
from sap2.tracking import promotion
from sap2.tracking.gate import Rule

ROOT = Path(__file__).parent.parent.parent
DVC = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
DVC.pop("settings")  # no step of its own: what it joins, `register` has at hand
ALL = [getattr(components, name) for name in components.__all__]


def specification(name: str):
    return getattr(components, name.replace("-", "_")).component_spec


@pytest.mark.parametrize("stage", DVC)
def test_a_stages_component_takes_the_sections_its_stage_tracks(stage):
    taken = {name for name, given in specification(stage).inputs.items() if given.type == "Dict"}
    tracked = {param for param in DVC[stage]["params"] if param in Params.model_fields and param != "profile"}
    if stage == "register":
        tracked = set(Params.model_fields) - {"profile", "resources"}  # it logs them all
    if stage.startswith("train-"):
        tracked |= {"tracking"}  # the curves
    assert taken == tracked


@pytest.mark.parametrize("stage", DVC)
def test_a_component_reads_as_many_artifacts_as_its_stage(stage):
    """Those that read `listed` or `pruned` read `prepared` too, where the recordings are."""
    defaults = inspect.signature(getattr(stages, stage.replace("-", "_"))).parameters.values()
    read = {item.default for item in defaults if isinstance(item.default, Path) and item.name != "output"}
    read = {path for path in read if not path.name.startswith(".") and not path.is_relative_to(stages.CHECKPOINTS)}
    read.discard(stages.SETTINGS)
    if read & {stages.LISTS, stages.PRUNED}:
        read.add(stages.PREPARED)
    given = [item for item in specification(stage).inputs.values() if item.type.startswith("system.")]
    assert len(given) == len(read)


@pytest.mark.parametrize("component", ALL, ids=lambda value: value.name)
def test_components_describe_all_inputs_and_outputs(component):
    spec = component.component_spec
    assert spec.description and spec.description.endswith((".", "?"))
    for name, described in {**(spec.inputs or {}), **(spec.outputs or {})}.items():
        assert described.description, f"{component.name}: {name}"


@pytest.mark.parametrize("profile", profile_names(ROOT / "params.yaml"))
def test_a_section_comes_back_from_kubeflow_as_it_went(profile):
    """Kubeflow's parameters have no null and no whole numbers; a section must not change by that."""
    params = load_params(ROOT / "params.yaml", profile)
    sent = params.without_nulls()
    del sent["resources"]

    def as_kubeflow(value):
        if isinstance(value, dict):
            return {key: as_kubeflow(item) for key, item in value.items()}
        if isinstance(value, list):
            return [as_kubeflow(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    back = Params.model_validate(as_kubeflow(sent) | {"resources": params.resources.model_dump()})
    assert back == params
    assert repr(back) == repr(params), "24.0 is 24 again"


@pytest.mark.parametrize(
    ("outcome", "announced"),
    [
        (promotion.Promotion("m", 7, True, 7, 3, [Rule("WER % at most 20", "5.00", True)]), True),
        (promotion.Promotion("m", 7, True, 7), False),  # it was the champion before: an equal pipeline, run again
        (promotion.Promotion("m", 7, False, 3, 3, [Rule("WER % at most 20", "23.00", False)]), False),
    ],
)
def test_only_a_new_champion_is_announced(monkeypatch, tmp_path, outcome, announced):
    monkeypatch.setattr(promotion, "promote", lambda *_: outcome)
    page = SimpleNamespace(path=str(tmp_path / "page.md"))
    assert components.promote.python_func(version="7", gate={}, evaluation={}, tracking={}, summary=page) is announced
    assert "rules:" in (tmp_path / "page.md").read_text(encoding="utf-8")
