"""Equal seed and input give identical outputs, for any process, hash seed and number of processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# The pipeline from corpus to metrics; prints the SHA-256 of every file.
FLOW = """
import json, os, sys
from pathlib import Path
import peft, torch
from tiny import build_tiny_base
from sap2 import stages
from sap2.files import sha256
from sap2.model import LORA_TARGETS, load_model, load_processor, save_adapter
from sap2.manifest import read_manifest
from sap2.params import EvaluationSection, InferenceSection, PrepareSection, PruningSection
from sap2.training.lists import ListDrawer

torch.set_num_threads(1)
os.chdir(sys.argv[1])  # outputs contain relative paths
folder, workers = Path("flow"), int(sys.argv[2])
section = PrepareSection(
    seed=5, train_utterances=4, dev_utterances=2, test_utterances=3, list_size=8, slides=2, workers=workers
)
stages.prepare(section, folder / "prepared")
utterances = read_manifest(folder / "prepared" / "train.jsonl")
drawer = ListDrawer("pruner", utterances, seed=1, list_sizes=(2, 6))
draws = [[drawer.draw(utterance, epoch).keywords for utterance in utterances] for epoch in range(3)]
(folder / "lists.json").write_text(json.dumps(draws))
base = build_tiny_base(folder / "base")
pruning, inference = PruningSection(max_new_tokens=8), InferenceSection(max_new_tokens=8)
for seed, stage in enumerate(("pruner", "recogniser")):
    model = peft.get_peft_model(load_model(base), peft.LoraConfig(r=1, target_modules=LORA_TARGETS))
    torch.manual_seed(seed)
    for weight in filter(lambda weight: weight.requires_grad, model.parameters()):
        torch.nn.init.normal_(weight, std=0.3)
    save_adapter(model, load_processor(base), folder / stage)
stages.prune(pruning, folder / "prepared", base, folder / "pruner", folder / "pruned")
stages.decode(inference, folder / "pruned", base, folder / "recogniser", folder / "results")
stages.evaluate(EvaluationSection(bootstrap_samples=50), folder / "results", folder / "reports")
speed = {"timing.json", "summary.json"}  # contain seconds
found = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
print(json.dumps({name: digest for name, digest in found.items() if Path(name).name not in speed}))
"""


@pytest.mark.slow  # the complete pipeline twice, each in a new process
def test_the_number_of_processes_does_not_change_any_output(tmp_path):
    started = []
    for workers in (1, 2):
        environment = {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "OMP_NUM_THREADS": "1"}
        environment |= {"PYTHONHASHSEED": str(workers)}
        (tmp_path / str(workers)).mkdir()
        command = [sys.executable, "-c", FLOW, str(tmp_path / str(workers)), str(workers)]
        started.append(
            subprocess.Popen(command, env=os.environ | environment, text=True, stdout=subprocess.PIPE, cwd=tmp_path)
        )
    first, two = (json.loads(process.communicate()[0].splitlines()[-1]) for process in started)
    kinds = ("prepared/train.jsonl", "prepared/audio", "lists.json", "pruned/test.jsonl", "results/predicted.jsonl",
             "reports/metrics.json", "reports/report.html")  # fmt: skip
    assert all(any(name.startswith(kind) for name in first) for kind in kinds)
    assert first == two
