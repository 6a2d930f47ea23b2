"""What a newcomer reads on the page of a run or version: what was trained on what, and how good it is."""

from collections.abc import Mapping
from typing import Any

__all__ = ["ABOUT_MODEL", "describe"]

ABOUT_MODEL = (
    "Contextual speech recognition in two stages: the pruner listens and keeps the spoken words of a keyword list, the "
    "recogniser transcribes with what is left. Each version holds base, both adapters and settings. `champion` is in "
    "production, `previous` was, `challenger` is the newest registered. `sap2 promote` holds a challenger against the "
    "champion; the verdict stands at the end of the version's description."
)
COLUMNS = {"WER %": "wer", "U-WER %": "u_wer", "B-WER %": "b_wer", "keyword recall": "keyword_recall",
           "false alarms / 100": "false_alarms_per_100"}  # fmt: skip
CONTEXTS = {
    "none": "no keywords",
    "full": "the whole list",
    "predicted": "stage 1's answer",
    "oracle": "the spoken ones",
}


def describe(params: Mapping[str, Any], metrics: Mapping[str, Any], commit: str, dirty: bool) -> str:
    """Markdown: data, base, training, and the scores by context with their intervals."""
    prepare, base, lora, model = (params.get(section) or {} for section in ("prepare", "base", "lora", "model"))
    method = model.get("method", "tpi")
    trained = [_training(params, "pruner"), _training(params, "recogniser")]
    if method != "tpi":  # one model, which reads whole lists
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
    """One line, which is all that the list of versions has room for."""
    figures = metrics.get("predicted")
    if not isinstance(figures, Mapping):
        return ""
    how = "with both stages" if method == "tpi" else f"with method {method}"
    return f"WER {_value(figures.get('wer'))} %, B-WER {_value(figures.get('b_wer'))} % {how}"


def _list_length(metrics: Mapping[str, Any]) -> str:
    """Of the test split, on average."""
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
    rows = [["keywords given", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    rows += [[CONTEXTS[one], *(_figure(metrics[one], name) for name in COLUMNS.values())] for one in shown]
    made = (
        f"\n\nDefinition {metrics.get('definition', '?')}, normaliser {metrics.get('normaliser', '?')}; 95 % intervals."
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + made


def _figure(figures: Mapping[str, Any], name: str) -> str:
    value, low, high = (figures.get(name + bound) for bound in ("", "_low", "_high"))
    return _value(value) + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
