"""From a registered version to the champion, and back: the gate's verdict, carried out in the registry."""

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
from sap2.tracking.store import reachable, reporting, tracking_uri

__all__ = ["Promotion", "promote", "rollback", "versions", "versions_table"]

TRIES = 5  # how often a version is judged anew because another one became the champion meanwhile
REPLACED = "sap2.replaced"  # tag of a version: the champion before it
DECISIONS = ("promoted", "refused", "rolled_back")
LONGEST_REASON = 1000  # characters; MLflow's limit on a tag is 5,000, and the journal holds several


@dataclass(frozen=True)
class Promotion:
    """What became of a version at the gate.

    Attributes:
        promoted: Whether it is the champion now.
        champion: The version that is.
        against: The champion it was judged against; None = there was none.
        rules: What it was held against; empty when it was the champion already.
        forced: The reason it was promoted all the same.
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
    """Judge a version against the champion, and make it the champion when every rule holds.

    The aliases move together or not at all, and only if the champion is still the one it was judged against; else it
    is judged again. Who, when and why become tags of the version, the verdict an artifact of its run. A promotion that
    was cut short is finished by the same once more.

    Args:
        version: Its number or one of its aliases; the challenger is the newest one registered.
        force: Why it is to be promoted whatever the rules say.
    Raises: TrackingError: no such version, or the store fails. InputError: an empty reason, results that are broken.
    """
    if force is not None and not 0 < len(force.strip()) <= LONGEST_REASON:
        raise InputError(f"a reason of {len(force.strip())} characters, expected 1 to {LONGEST_REASON}")
    uri, name, asking = tracking_uri(tracking), tracking.model_name, reachable(tracking)
    with reporting(uri, "did not promote"):
        number = _cut_short(asking, name, version) or version_number(asking, name, version)
        for _ in range(TRIES):
            champion = aliases(asking, name).get(CHAMPION)
            if champion == number:
                replaced = _tag(asking, name, number, REPLACED)
                return Promotion(name, number, True, champion, int(replaced) if replaced else None)
            rules = _judged(asking, name, number, champion, gate, evaluation)
            holds = all(rule.holds for rule in rules)
            if not holds and force is None:
                outcome = Promotion(name, number, False, champion, champion, rules)
                _refuse(asking, outcome)
                return outcome
            outcome = Promotion(name, number, True, number, champion, rules, None if holds else force)
            if _moved_up(asking, outcome, _why(rules, force, holds)):
                return outcome
    raise TrackingError(
        f"model {name}: the champion changed {TRIES} times while version {number} was judged; try again"
    )


def rollback(tracking: TrackingSection, why: str = "") -> tuple[int, int]:
    """Make the previous champion the champion again; return the version that was and the one that is.

    Where a rollback was cut short, that one is finished, and no second one made.
    Raises: TrackingError: there is no previous one, or the store fails.
    """
    name, asking = tracking.model_name, reachable(tracking)
    with reporting(tracking_uri(tracking), "did not roll back"), locked(asking, name) as before:
        if before and _what(before) == "rolled_back":
            return before["version"], before["places"][CHAMPION]
        now = aliases(asking, name)
        champion, previous = now.get(CHAMPION), now.get(PREVIOUS)
        if champion is None or previous is None:
            raise TrackingError(
                f"model {name}: champion is {champion or 'none'}, previous {previous or 'none'}; there is nothing to "
                'go back to; "sap2 models" lists the versions, "sap2 promote VERSION --force REASON" takes any of them'
            )
        places = {CHAMPION: previous, PREVIOUS: _there(asking, name, _tag(asking, name, previous, REPLACED))}
        move(asking, name, places, champion, _stamp("rolled_back", why[:LONGEST_REASON] or "no reason given"))
    return champion, previous


def versions(tracking: TrackingSection) -> list[dict[str, Any]]:
    """The model's versions, newest first: `version`, `aliases`, `registered`, `run` and `tags`."""
    name, asking = tracking.model_name, reachable(tracking)
    with reporting(tracking_uri(tracking), "lists no versions"):
        held = aliases(asking, name)
        found, token = [], None
        while True:
            page = asking.search_model_versions(f"name = '{name}'", page_token=token)
            found += page
            token = page.token
            if not token:
                break
    return [
        {
            "version": int(one.version),
            "aliases": [alias for alias, version in held.items() if version == int(one.version)]
            + (["unfinished"] if unfinished(one) else []),
            "registered": datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
            "run": one.run_id,
            "tags": dict(one.tags),
        }
        for one in sorted(found, key=lambda one: -int(one.version))
    ]


def versions_table(listed: list[dict[str, Any]], context: str) -> str:
    """What `sap2 models` prints: scores are those of one context."""
    heads = ("version", "alias", "registered (UTC)", "WER %", "U-WER %", "B-WER %", "false alarms", "last decision")
    rows: list[tuple[str, ...]] = [heads]
    for one in listed:
        tags = one["tags"]
        scores = (tags.get(f"{context}/{name}", "–") for name in ("wer", "u_wer", "b_wer", "false_alarms_per_100"))
        shown = (str(one["version"]), ", ".join(sorted(one["aliases"])), f"{one['registered']:%Y-%m-%d %H:%M}")
        rows.append((*shown, *map(_two_decimals, scores), _last_decision(tags)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, *_settings_lines(listed)])


def _settings_lines(listed: list[dict[str, Any]]) -> list[str]:
    """The settings of the versions, once for those that share them."""
    by_settings: dict[str, list[str]] = {}
    for one in listed:
        by_settings.setdefault(one["tags"].get(SETTINGS_TAG, "not recorded"), []).append(str(one["version"]))
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


def _judged(
    asking, name: str, number: int, champion: int | None, gate: GateSection, evaluation: EvaluationSection
) -> list[Rule]:
    speed = _tag(asking, name, number, f"{gate.context}/{SPEED}")
    with tempfile.TemporaryDirectory(prefix="sap2-gate-") as folder:
        found = {}
        for which in [number, *([champion] if champion else [])]:
            path = _results(asking, name, which, gate.context, Path(folder) / str(which))
            if path is None:
                figure = f"the run of version {which} holds no {RESULTS}/{gate.context}.jsonl"
                return [Rule("results are kept with the run", figure, False)]
            found[which] = path
        return judge(gate, evaluation, found[number], found.get(champion or 0), float(speed) if speed else None)


def _results(asking, name: str, number: int, context: str, folder: Path) -> Path | None:
    run = asking.get_model_version(name, str(number)).run_id
    wanted = f"{RESULTS}/{context}.jsonl"
    if wanted not in {file.path for file in asking.list_artifacts(run, RESULTS)}:
        return None
    folder.mkdir()
    return Path(asking.download_artifacts(run, wanted, str(folder)))


def _cut_short(asking, name: str, version: str) -> int | None:
    """The version asked for, if its promotion was cut short; that is finished now. A challenger is none any more."""
    before = finished(asking, name)
    if not before or _what(before) != "promoted":
        return None
    was_challenger = CHALLENGER in before["places"] and before["places"][CHALLENGER] is None
    asked = version == str(before["version"]) or (version == CHALLENGER and was_challenger)
    return _there(asking, name, str(before["version"])) if asked else None


def _what(plan: Mapping[str, Any]) -> str | None:
    """Which decision a move of the aliases carries out; None: another's, a registration's."""
    return next((what for what in DECISIONS if f"sap2.{what}_at" in plan["tags"]), None)


def _moved_up(asking, outcome: Promotion, why: str) -> bool:
    """Move the aliases, unless the champion is another one by now. The verdict is kept first: the move ends it all."""
    name, number, champion = outcome.model, outcome.version, outcome.against
    with locked(asking, name):
        now = aliases(asking, name)
        if now.get(CHAMPION) != champion:
            return False
        _record(asking, outcome)
        places: dict[str, int | None] = {CHAMPION: number, PREVIOUS: champion}
        if now.get(CHALLENGER) == number:
            places[CHALLENGER] = None
        tags = {**_stamp("promoted", why)} | {REPLACED: "" if champion is None else str(champion)}
        move(asking, name, places, number, tags)
        return True


def _refuse(asking, outcome: Promotion) -> None:
    broken = "; ".join(f"{rule.rule}: {rule.figure}" for rule in outcome.rules if not rule.holds)
    for tag, value in _stamp("refused", broken).items():
        asking.set_model_version_tag(outcome.model, str(outcome.version), tag, value)
    _record(asking, outcome)


def _record(asking, outcome: Promotion) -> None:
    """The verdict, for who looks at the version or at its run."""
    name, number = outcome.model, str(outcome.version)
    version = asking.get_model_version(name, number)
    now = datetime.now(UTC)
    asking.log_dict(version.run_id, {"at": now.isoformat(), **asdict(outcome)}, f"promotion/{now:%Y%m%dT%H%M%S}.json")
    asking.update_model_version(name, number, description=_described(version.description or "", outcome))


def _described(before: str, outcome: Promotion) -> str:
    """A version's description with the gate's last verdict at its end."""
    heading = "## At the gate"
    against = f"against version {outcome.against}" if outcome.against else "as the first version"
    verdict = "passed" if outcome.promoted else "refused"
    if outcome.forced:
        verdict += f" by force: {outcome.forced}"
    before = before.partition(heading)[0].rstrip()
    return f"{before}\n\n{heading}\n{verdict}, {against}\n\n{table(outcome.rules)}\n".lstrip()


def _why(rules: list[Rule], force: str | None, holds: bool) -> str:
    if holds:
        return f"all {len(rules)} rules of the gate hold"
    return f"forced: {force}; broken: {'; '.join(rule.rule for rule in rules if not rule.holds)}"


def _stamp(what: str, why: str) -> Mapping[str, str]:
    """Who, when and why, as tags of a version."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {f"sap2.{what}_at": now, f"sap2.{what}_by": user(), f"sap2.{what}_why": why}


def _tag(asking, name: str, number: int, tag: str) -> str | None:
    return asking.get_model_version(name, str(number)).tags.get(tag)


def _there(asking, name: str, version: str | None) -> int | None:
    """The version a tag names, unless somebody has deleted it."""
    from mlflow.exceptions import MlflowException

    try:
        return int(asking.get_model_version(name, version).version) if version else None
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
