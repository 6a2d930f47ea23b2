"""Promotion and rollback of registered versions: the gate's verdict, carried out in the registry."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sap2.errors import InputError, TrackingError
from sap2.params import EvaluationSection, GateSection, TrackingSection
from sap2.tracking.aliases import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    aliases,
    finished,
    locked,
    move,
    unfinished,
    version_number,
)
from sap2.tracking.gate import Rule, judge, table
from sap2.tracking.registry import RESULTS, SETTINGS_TAG, SPEED
from sap2.tracking.runs import user
from sap2.tracking.store import reachable_client, reporting, tracking_uri

__all__ = ["Promotion", "promote", "rollback", "versions", "versions_table"]

TRIES = 5  # judgements before giving up if the champion keeps changing
REPLACED = "sap2.replaced"  # tag of a version: the champion that it replaced
DECISIONS = ("promoted", "refused", "rolled_back")
LONGEST_REASON = 1000  # characters; MLflow's limit on a tag is 5,000, and the journal holds several


@dataclass(frozen=True)
class Promotion:
    """The outcome of a version's promotion.

    Attributes:
        promoted: Whether the version is now the champion.
        champion: The current champion.
        against: The champion it was compared with; None = none.
        rules: The rules it was judged by; empty if it was already the champion.
        forced: The reason for promoting it despite broken rules.
    """

    model: str
    version: int
    promoted: bool
    champion: int | None
    against: int | None = None
    rules: list[Rule] = field(default_factory=list)
    forced: str | None = None


def promote(
    tracking: TrackingSection,
    gate: GateSection,
    evaluation: EvaluationSection,
    version: str = CHALLENGER,
    force: str | None = None,
) -> Promotion:
    """Compare a version with the champion, and make it the champion if all rules hold.

    The aliases move atomically, and only if the champion has not changed since the comparison; else the version is
    judged again. Who, when and why become tags of the version, the verdict an artifact of its run. Repeating an
    interrupted promotion finishes it.

    Args:
        version: Its number or one of its aliases; the challenger is the newest registered version.
        force: Reason for promoting it regardless of the rules.
    Raises: TrackingError: no such version, or the store fails. InputError: an empty reason, or broken results.
    """
    if force is not None and not 0 < len(force.strip()) <= LONGEST_REASON:
        raise InputError(f"the reason has {len(force.strip())} characters, expected 1 to {LONGEST_REASON}")
    uri, name, client = tracking_uri(tracking), tracking.model_name, reachable_client(tracking)
    with reporting(uri, "did not promote"):
        number = _finish_interrupted(client, name, version) or version_number(client, name, version)
        for _ in range(TRIES):
            champion = aliases(client, name).get(CHAMPION)
            if champion == number:
                replaced = _tag(client, name, number, REPLACED)
                return Promotion(name, number, True, champion, int(replaced) if replaced else None)
            rules = _judge(client, name, number, champion, gate, evaluation)
            holds = all(rule.holds for rule in rules)
            if not holds and force is None:
                outcome = Promotion(name, number, False, champion, champion, rules)
                _refuse(client, outcome)
                return outcome
            outcome = Promotion(name, number, True, number, champion, rules, None if holds else force)
            if _make_champion(client, outcome, _reason(rules, force, holds)):
                return outcome
    raise TrackingError(
        f"model {name}: the champion changed {TRIES} times while version {number} was judged; try again"
    )


def rollback(tracking: TrackingSection, why: str = "") -> tuple[int, int]:
    """Make the previous champion the champion again; return the old and the new champion.

    An interrupted rollback is finished, not repeated.
    Raises: TrackingError: there is no previous champion, or the store fails.
    """
    name, client = tracking.model_name, reachable_client(tracking)
    with reporting(tracking_uri(tracking), "did not roll back"), locked(client, name) as before:
        if before and _decision_of(before) == "rolled_back":
            return before["version"], before["places"][CHAMPION]
        now = aliases(client, name)
        champion, previous = now.get(CHAMPION), now.get(PREVIOUS)
        if champion is None or previous is None:
            raise TrackingError(
                f"model {name}: champion is {champion or 'none'}, previous {previous or 'none'}; nothing to "
                'roll back to; "sap2 models" lists the versions, "sap2 promote VERSION --force REASON" promotes any'
            )
        targets = {CHAMPION: previous, PREVIOUS: _existing(client, name, _tag(client, name, previous, REPLACED))}
        move(client, name, targets, champion, _stamp("rolled_back", why[:LONGEST_REASON] or "no reason given"))
    return champion, previous


def versions(tracking: TrackingSection) -> list[dict[str, Any]]:
    """List the model's versions, newest first: `version`, `aliases`, `registered`, `run` and `tags`."""
    name, client = tracking.model_name, reachable_client(tracking)
    with reporting(tracking_uri(tracking), "lists no versions"):
        held = aliases(client, name)
        registered, token = [], None
        while True:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
            registered += page
            token = page.token
            if not token:
                break
    return [
        {
            "version": int(version.version),
            "aliases": [alias for alias, number in held.items() if number == int(version.version)]
            + (["unfinished"] if unfinished(version) else []),
            "registered": datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
            "run": version.run_id,
            "tags": dict(version.tags),
        }
        for version in sorted(registered, key=lambda version: -int(version.version))
    ]


def versions_table(listed: list[dict[str, Any]], context: str) -> str:
    """Format versions as `sap2 models` prints them, with the scores of a context."""
    heads = ("version", "alias", "registered (UTC)", "WER %", "U-WER %", "B-WER %", "false alarms", "last decision")
    rows: list[tuple[str, ...]] = [heads]
    for version in listed:
        tags = version["tags"]
        scores = (tags.get(f"{context}/{name}", "–") for name in ("wer", "u_wer", "b_wer", "false_alarms_per_100"))
        shown = (
            str(version["version"]),
            ", ".join(sorted(version["aliases"])),
            f"{version['registered']:%Y-%m-%d %H:%M}",
        )
        rows.append((*shown, *map(_two_decimals, scores), _last_decision(tags)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *_settings_lines(listed)])


def _settings_lines(listed: list[dict[str, Any]]) -> list[str]:
    """Format the versions' settings, once for all versions that share them."""
    by_settings: dict[str, list[str]] = {}
    for version in listed:
        by_settings.setdefault(version["tags"].get(SETTINGS_TAG, "not recorded"), []).append(str(version["version"]))
    return [f"settings of {', '.join(versions)}: {settings}" for settings, versions in by_settings.items()]


def _two_decimals(value: str) -> str:
    return f"{float(value):.2f}" if value != "–" else value


def _last_decision(tags: Mapping[str, str]) -> str:
    """`promoted by ana: all 5 rules of the gate hold`"""
    decisions = [(tags[f"sap2.{what}_at"], what) for what in DECISIONS if f"sap2.{what}_at" in tags]
    if not decisions:
        return ""
    what = max(decisions)[1]
    return f"{what.replace('_', ' ')} by {tags[f'sap2.{what}_by']}: {tags[f'sap2.{what}_why']}"


def _judge(
    client, name: str, number: int, champion: int | None, gate: GateSection, evaluation: EvaluationSection
) -> list[Rule]:
    speed = _tag(client, name, number, f"{gate.context}/{SPEED}")
    with tempfile.TemporaryDirectory(prefix="sap2-gate-") as folder:
        results = {}
        for which in [number, *([champion] if champion else [])]:
            path = _results(client, name, which, gate.context, Path(folder) / str(which))
            if path is None:
                figure = f"the run of version {which} has no {RESULTS}/{gate.context}.jsonl"
                return [Rule("results are stored with the run", figure, False)]
            results[which] = path
        return judge(gate, evaluation, results[number], results.get(champion or 0), float(speed) if speed else None)


def _results(client, name: str, number: int, context: str, folder: Path) -> Path | None:
    run = client.get_model_version(name, str(number)).run_id
    wanted = f"{RESULTS}/{context}.jsonl"
    if wanted not in {file.path for file in client.list_artifacts(run, RESULTS)}:
        return None
    folder.mkdir()
    return Path(client.download_artifacts(run, wanted, str(folder)))


def _finish_interrupted(client, name: str, version: str) -> int | None:
    """Finish an interrupted promotion; return its version if it is the requested one."""
    before = finished(client, name)
    if not before or _decision_of(before) != "promoted":
        return None
    was_challenger = CHALLENGER in before["places"] and before["places"][CHALLENGER] is None
    requested = version == str(before["version"]) or (version == CHALLENGER and was_challenger)
    return _existing(client, name, str(before["version"])) if requested else None


def _decision_of(plan: Mapping[str, Any]) -> str | None:
    """Return the decision that a move carries out; None for moves by a registration."""
    return next((what for what in DECISIONS if f"sap2.{what}_at" in plan["tags"]), None)


def _make_champion(client, outcome: Promotion, why: str) -> bool:
    """Record the verdict and move the aliases, unless the champion has changed in the meantime."""
    name, number, champion = outcome.model, outcome.version, outcome.against
    with locked(client, name):
        now = aliases(client, name)
        if now.get(CHAMPION) != champion:
            return False
        _record(client, outcome)
        targets: dict[str, int | None] = {CHAMPION: number, PREVIOUS: champion}
        if now.get(CHALLENGER) == number:
            targets[CHALLENGER] = None
        tags = {**_stamp("promoted", why)} | {REPLACED: "" if champion is None else str(champion)}
        move(client, name, targets, number, tags)
        return True


def _refuse(client, outcome: Promotion) -> None:
    broken = "; ".join(f"{rule.rule}: {rule.figure}" for rule in outcome.rules if not rule.holds)
    for tag, value in _stamp("refused", broken).items():
        client.set_model_version_tag(outcome.model, str(outcome.version), tag, value)
    _record(client, outcome)


def _record(client, outcome: Promotion) -> None:
    """Store the verdict with the version and its run."""
    name, number = outcome.model, str(outcome.version)
    version = client.get_model_version(name, number)
    now = datetime.now(UTC)
    client.log_dict(version.run_id, {"at": now.isoformat(), **asdict(outcome)}, f"promotion/{now:%Y%m%dT%H%M%S}.json")
    client.update_model_version(name, number, description=_with_verdict(version.description or "", outcome))


def _with_verdict(before: str, outcome: Promotion) -> str:
    """Return a version's description with the gate's last verdict appended."""
    heading = "## At the gate"
    against = f"compared with version {outcome.against}" if outcome.against else "as the first version"
    verdict = "passed" if outcome.promoted else "refused"
    if outcome.forced:
        verdict += f" by force: {outcome.forced}"
    before = before.partition(heading)[0].rstrip()
    return f"{before}\n\n{heading}\n{verdict}, {against}\n\n{table(outcome.rules)}\n".lstrip()


def _reason(rules: list[Rule], force: str | None, holds: bool) -> str:
    if holds:
        return f"all {len(rules)} rules hold"
    return f"forced: {force}; broken: {'; '.join(rule.rule for rule in rules if not rule.holds)}"


def _stamp(what: str, why: str) -> Mapping[str, str]:
    """Return who, when and why as tags of a version."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {f"sap2.{what}_at": now, f"sap2.{what}_by": user(), f"sap2.{what}_why": why}


def _tag(client, name: str, number: int, tag: str) -> str | None:
    return client.get_model_version(name, str(number)).tags.get(tag)


def _existing(client, name: str, version: str | None) -> int | None:
    """Return the version that a tag names; None if it has been deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version(name, version).version) if version else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
