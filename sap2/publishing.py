"""A trained folder on the Hugging Face hub: base, adapters, settings, and a card that states data, figures and use.

models/{base, pruner, recogniser, settings.json}, data/lists/card.json, reports/metrics.json --> a model of the hub
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sap2.constants import SPLITS
from sap2.errors import InputError, ModelError
from sap2.files import json_file
from sap2.hub import HUB_SOURCE, PATTERNS

__all__ = ["model_card", "publish"]

PARTS = ("base", "pruner", "recogniser")
CONTEXTS = ("none", "full", "predicted", "oracle")
FIGURES = (("wer", "WER"), ("u_wer", "U-WER"), ("b_wer", "B-WER"))
METHODS = {
    "tpi": "stage 1 prunes a keyword list by listening, stage 2 transcribes with what is left",
    "pc": "one model transcribes with the whole, pooled keyword list",
    "jpi": "one model prunes the keyword list and transcribes in one answer",
}


def publish(
    models: Path, repo: str, lists: Path, reports: Path, *, private: bool = True, token: str | None = None
) -> str:
    """Upload a folder of models with its card, in one commit; a base that is the hub's own goes by its id and commit.

    Args:
        repo: The model's id, `organisation/name`; made if it is not there.
        lists, reports: Where the data card and the figures are.
        token: None = the one that `hf auth login` has kept, or HF_TOKEN.
    Returns: The commit's address.
    Raises: InputError: a file is missing. ModelError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    missing = [name for name in (*PARTS, "settings.json") if not (models / name).exists()]
    if missing:
        raise InputError(f'{models}: lacks {", ".join(missing)}; run "dvc repro", or give the folder of the models')
    card = model_card(
        repo,
        json_file(lists / "card.json", 'run "sap2 lists" first'),
        json_file(reports / "metrics.json", 'run "sap2 evaluate" first'),
        json_file(models / "recogniser" / "sap_config.json", "train the stage again"),
        _hub_base(models / "base"),
    )
    files: dict[str, bytes | Path] = {"README.md": card.encode(), "settings.json": models / "settings.json"}
    named = (models / "base" / HUB_SOURCE).is_file()
    for part in PARTS:
        for path in [models / part / HUB_SOURCE] if part == "base" and named else sorted((models / part).rglob("*")):
            if path.is_file() and any(path.match(pattern) for pattern in PATTERNS):
                files[path.relative_to(models).as_posix()] = path
    api = HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        return str(api.create_commit(repo, operations, commit_message="Base, adapters, settings and card").commit_url)
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f'{repo}: not uploaded ({reason}); log in by "hf auth login", or correct the id') from error


def model_card(
    repo: str, data: Mapping[str, Any], metrics: Mapping[str, Any], pooling: Mapping[str, Any], base: str | None
) -> str:
    """The README.md of a model of the hub.

    Args:
        data: The data card of the lists.
        metrics: Of `sap2 evaluate`.
        pooling: sap_config.json of stage 2's adapter.
        base: The hub's id of the base; None = the base is part of the model.
    """
    name = repo.rpartition("/")[2]
    head = {
        "library_name": "sap2-asr",
        "pipeline_tag": "automatic-speech-recognition",
        **({"base_model": base} if base else {}),
        "tags": ["speech", "contextual-biasing", "keywords", "qwen2_audio"],
        "model-index": [{"name": name, "results": _results(data, metrics)}],
    }
    # JSON is YAML, too.
    lines = ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()), "---", ""]
    lines += [f"# {name}", "", f"Contextual speech recognition: {METHODS[pooling['method']]} (SAP², "]
    lines[-1] += f"[Rong et al., 2026](https://arxiv.org/abs/2511.11139)). Base: {base or 'in the folder base'}; "
    lines[-1] += f"windows of {pooling['window']} tokens, weighted by {pooling['weighting']}."
    lines += ["", "## Figures", "", *_table(metrics), "", "## Data", "", *_data(data), "", "## Use", "", *_use(repo)]
    return "\n".join(lines) + "\n"


def _results(data: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    figures = metrics.get("predicted", {})
    title = str(data.get("title", "unnamed"))
    return [
        {
            "task": {"type": "automatic-speech-recognition"},
            "dataset": {"name": title, "type": title.lower().replace(" ", "-"), "split": "test"},
            "metrics": [
                {"type": "wer", "name": label, "value": figures[key]} for key, label in FIGURES if key in figures
            ],
        }
    ]


def _table(metrics: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Per cent on {metrics['utterances']} test utterances; definition {metrics['definition']}, normaliser "
        f"{metrics['normaliser']}; 95 % intervals where they were drawn.",
        "",
        f"| keywords in the prompt | {' | '.join(label for _, label in FIGURES)} |",
        f"| --- |{' ---: |' * len(FIGURES)}",
    ]
    for context in CONTEXTS:
        if context in metrics:
            cells = [_figure(metrics[context], key) for key, _ in FIGURES]
            lines.append(f"| {context} | {' | '.join(cells)} |")
    if pruning := metrics.get("pruning"):
        lines += ["", f"Pruning: recall {pruning['recall']:.3f}, precision {pruning['precision']:.3f}."]
    return lines


def _figure(figures: Mapping[str, Any], key: str) -> str:
    value, low, high = (figures.get(f"{key}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "n/a"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def _data(data: Mapping[str, Any]) -> list[str]:
    lines = [f"{data.get('title', 'unnamed')}; licence: {data.get('licence') or 'not stated'}.", ""]
    lines += ["| split | utterances | hours |", "| --- | ---: | ---: |"]
    for split in SPLITS:
        if figures := data.get("splits", {}).get(split):
            lines.append(f"| {split} | {figures['utterances']:,} | {figures['hours']:.2f} |")
    return lines


def _use(repo: str) -> list[str]:
    return [
        "```sh",
        "pip install 'sap2-asr[pipeline]'",
        f"hf download {repo} --local-dir models",
        'sap2 transcribe talk.wav --keywords "Meyer, Zorvan"',
        "```",
        "",
        "From Python, stage 2's adapter on its base as a model of transformers:",
        "",
        "```python",
        "from sap2.model import load_model, load_processor",
        "",
        'model, processor = load_model("models/base", "models/recogniser"), load_processor("models/recogniser")',
        'chat = [{"role": "user", "content": [',
        '    {"type": "audio", "audio": "talk.wav"},',
        '    {"type": "text", "text": "Transcribe speech to text according to keywords may appear in the utterance. "',
        '     "Possible keywords are: <|startofcontext|>Meyer, Zorvan<|endofcontext|>"},',
        "]}]",
        "inputs = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)",
        "print(processor.tokenizer.decode(model.generate(**inputs)[0, inputs['input_ids'].shape[1]:]))",
        "```",
    ]


def _hub_base(folder: Path) -> str | None:
    """The hub's id of a base that names or was fetched from it; None for any other folder."""
    named = folder / HUB_SOURCE
    return json_file(named, 'run "sap2 base" again')["id"] if named.is_file() else None
