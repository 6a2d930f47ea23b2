"""Descriptions of runs and versions for MLflow's pages: what was trained on which data, and the scores."""

from collections.abc import Mapping
from typing import Any

__all__ = ["ABOUT_MODEL", "describe"]

ABOUT_MODEL = (
    "Contextual speech recognition in two stages: the pruner selects the spoken words of a keyword list, and the "
    "recogniser transcribes with them. Each version contains base, both adapters and settings. `champion` is in "
    "production, `previous` was before it, `challenger` was registered last. `sap2 promote` compares a challenger with "
    "the champion; the verdict is at the end of the version's description."
)
COLUMNS = {"WER %": "wer", "U-WER %": "u_wer", "B-WER %": "b_wer", "keyword recall": "keyword_recall",
           "false alarms / 100": "false_alarms_per_100"}  # fmt: skip
CONTEXTS = {
    "none": "no keywords",
    "full": "the whole list",
    "predicted": "stage 1's answer",
    "oracle": "the spoken keywords",
}


def describe(params: Mapping[str, Any], metrics: Mapping[str, Any], commit: str, dirty: bool) -> str:
    """Describe data, base, training, and the scores by context with intervals, in Markdown."""
    prepare, base, lora, model = (params.get(section) or {} for section in ("prepare", "base", "lora", "model"))
    method = model.get("method", "tpi")
    trained = [_training(params, "pruner"), _training(params, "recogniser")]
    if method != "tpi":  # a single model that reads whole lists
        trained = [f"method {method}", _training(params, "recogniser").partition(" on ")[0]]
    lines = [
        f"**Data** {prepare.get('source', '?')}, keyword lists of {_list_length(metrics)}; "
        f"{metrics.get('utterances', '?')} test utterances",
        f"**Base** {base.get('path', '?')}" + (f" @ {base['revision']}" if base.get("revision") else ""),
        f"**Adapters** LoRA, rank {lora.get('rank', '?')}; {'; '.join(trained)}",
        f"**Code** {commit}" + (" with changes, see changes.patch" if dirty else ""),
        f"**Profile** {params.get('profile', '?')}",
    ]
    listed = "\n".join(f"- {line}" for line in lines)
    return "\n\n".join(filter(None, (_headline(metrics, method), listed, _scores(metrics))))


def _headline(metrics: Mapping[str, Any], method: str) -> str:
    """Summarise the scores in a line for the list of versions."""
    figures = metrics.get("predicted")
    if not isinstance(figures, Mapping):
        return ""
    how = "with both stages" if method == "tpi" else f"with method {method}"
    return f"WER {_value(figures.get('wer'))} %, B-WER {_value(figures.get('b_wer'))} % {how}"


def _list_length(metrics: Mapping[str, Any]) -> str:
    """Format the mean list length of the test split."""
    length = (metrics.get("pruning") or {}).get("listed_per_utterance")
    return "?" if length is None else f"{length:.4g}"


def _training(params: Mapping[str, Any], stage: str) -> str:
    section = params.get(stage) or {}
    length = f"{section['max_steps']} steps" if section.get("max_steps") else f"{section.get('epochs', '?')} epochs"
    return f"{stage} {length}" + (f" on {section['lists']} lists" if "lists" in section else "")


def _scores(metrics: Mapping[str, Any]) -> str:
    shown = [context for context in CONTEXTS if isinstance(metrics.get(context), Mapping)]
    if not shown:
        return ""
    rows = [["context", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    rows += [[CONTEXTS[name], *(_figure(metrics[name], column) for column in COLUMNS.values())] for name in shown]
    made = (
        f"\n\nDefinition {metrics.get('definition', '?')}, normaliser {metrics.get('normaliser', '?')}; 95 % intervals."
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + made


def _figure(figures: Mapping[str, Any], name: str) -> str:
    value, low, high = (figures.get(name + bound) for bound in ("", "_low", "_high"))
    return _value(value) + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
