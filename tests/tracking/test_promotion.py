"""There is always a single champion, despite concurrent and interrupted promotions."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sap2.errors import InputError, TrackingError
from sap2.params import EvaluationSection, GateSection
from sap2.tracking import aliases as moving
from sap2.tracking.promotion import promote, rollback, versions, versions_table

GATE, EVALUATION = GateSection(first_max_wer=100, first_max_b_wer=100), EvaluationSection(bootstrap_samples=100)


def promoted(section, version="challenger", **more):
    return promote(section, GATE, EVALUATION, str(version), **more)


def places(client, section):
    return dict(sorted(moving.aliases(client, section.model_name).items()))


def test_first_then_better_then_worse_then_back(section, client, version):
    first = version(30)
    outcome = promoted(section)
    assert (outcome.promoted, outcome.champion, outcome.against) == (True, first, None)
    assert places(client, section) == {"champion": 1}

    version(5)
    outcome = promoted(section)
    assert (outcome.promoted, outcome.champion, outcome.against) == (True, 2, 1)
    assert places(client, section) == {"champion": 2, "previous": 1}

    version(20)
    outcome = promoted(section)
    assert (outcome.promoted, outcome.champion) == (False, 2)
    assert places(client, section) == {"challenger": 3, "champion": 2, "previous": 1}

    assert rollback(section, "misspells Meyer") == (2, 1)
    assert places(client, section) == {"challenger": 3, "champion": 1}
    with pytest.raises(TrackingError, match="champion is 1, previous none; nothing to roll back to"):
        rollback(section)


def test_who_when_why_are_tags_and_the_verdict_is_with_the_run(section, client, version):
    version(30), promoted(section), version(29), promoted(section)
    champion, challenger = (client.get_model_version(section.model_name, number) for number in ("1", "2"))
    assert champion.tags["sap2.promoted_why"] == "all 4 rules hold"
    assert champion.tags["sap2.promoted_by"] and champion.tags["sap2.promoted_at"].startswith("20")
    assert challenger.tags["sap2.refused_why"].startswith("B-WER % below the champion's, p at most 0.05: 75.00 → 72.50")
    assert "sap2.promoted_at" not in challenger.tags
    assert challenger.description.startswith(
        "Made by hand.\n\n## At the gate\nrefused, compared with version 1\n\n| rule"
    )
    (verdict,) = client.list_artifacts(challenger.run_id, "promotion")
    assert verdict.path.startswith("promotion/20")


def test_force_is_recorded_with_the_rules_it_overrode(section, client, version):
    version(10), promoted(section), version(20)
    outcome = promoted(section, force="the other one cannot spell Zoë")
    assert (outcome.promoted, outcome.forced) == (True, "the other one cannot spell Zoë")
    why = client.get_model_version(section.model_name, "2").tags["sap2.promoted_why"]
    assert why.startswith("forced: the other one cannot spell Zoë; broken: B-WER % below the champion's")
    assert places(client, section) == {"champion": 2, "previous": 1}
    with pytest.raises(InputError, match="the reason has 0 characters"):
        promoted(section, 1, force=" ")


def test_promoting_the_champion_again_changes_nothing(section, client, version):
    """A pipeline's step may be tried again after it has done its work."""
    version(10), promoted(section)
    before = client.get_model_version(section.model_name, "1").tags
    assert promoted(section, 1).promoted
    assert client.get_model_version(section.model_name, "1").tags == before


def test_a_version_without_results_is_refused_and_says_why(section, version):
    version(0, results=False)
    (rule,) = promoted(section).rules
    assert not rule.holds and rule.figure == "the run of version 1 has no results/predicted.jsonl"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("7", 'no version 7; "sap2 models" lists them'),
        ("best", r"no version with alias 'best', expected a version's number or one of"),
    ],
)
def test_an_unknown_version_is_named(section, version, asked, message):
    version(1)
    with pytest.raises(TrackingError, match=message):
        promoted(section, asked)


def test_an_unknown_model_states_the_way_out(section):
    with pytest.raises(TrackingError, match='no registered model .*; run "sap2 register" first'):
        promoted(section)


def test_versions_list_scores_aliases_and_last_decision(section, version):
    version(30), promoted(section), version(29), promoted(section)
    listed = versions(section)
    assert [(word["version"], word["aliases"]) for word in listed] == [(2, ["challenger"]), (1, ["champion"])]
    lines = versions_table(listed, "predicted").splitlines()
    assert lines[0].split()[:2] == ["version", "alias"] and "B-WER %" in lines[0]
    assert lines[1].split()[:2] == ["2", "challenger"] and "72.50" in lines[1] and ": B-WER % below" in lines[1]
    assert "promoted by" in lines[2] and lines[2].endswith("all 4 rules hold")
    assert lines[3:] == ["settings of 2, 1: not recorded"]


def test_versions_are_listed_with_their_settings(section, client, version):
    for number, threshold in enumerate(("-1", "-1", "-2"), start=1):
        version(30)
        client.set_model_version_tag(
            section.model_name, str(number), "sap2.settings", f"pruning: threshold {threshold}"
        )
    assert versions_table(versions(section), "predicted").splitlines()[-2:] == [
        "settings of 3: pruning: threshold -2", "settings of 2, 1: pruning: threshold -1",
    ]  # fmt: skip


def test_judging_is_repeated_if_the_champion_changed(section, client, version, monkeypatch):
    version(30), promoted(section), version(5), version(8)
    from sap2.tracking import promotion

    judged = []

    def judge_slowly(*given):
        judged.append(given[3])
        if len(judged) == 1:
            client.set_registered_model_alias(section.model_name, "champion", "2")
        return original(*given)

    original = promotion._judge
    monkeypatch.setattr(promotion, "_judge", judge_slowly)
    assert not promoted(section, 3).promoted  # better than 1 was, not than 2 is
    assert judged == [1, 2]
    assert places(client, section)["champion"] == 2


def consistent(client, section, count):
    """Every promotion replaced the champion there was: the tags are a chain that ends in the aliases."""
    tags = {str(n): client.get_model_version(section.model_name, str(n)).tags for n in range(1, count + 1)}
    replaced = {number: tag["sap2.replaced"] for number, tag in tags.items() if "sap2.replaced" in tag}
    held = places(client, section)
    assert str(held.get("previous", "")) == replaced[str(held["champion"])]
    chain, number = [], str(held["champion"])
    while number:
        chain.append(number)
        number = replaced[number]
    assert sorted(chain) == sorted(replaced), "a promotion was judged against a champion that was none"
    assert client.get_registered_model(section.model_name).tags == {}
    assert client.search_registered_models(f"name LIKE '{section.model_name}.moving%'") == []
    return chain


def test_concurrent_threads_end_in_a_consistent_state(section, client, version):
    version(40), promoted(section)
    for wrong in (30, 15, 2):
        version(wrong)
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda number: promoted(section, number), (2, 3, 4)))
    assert consistent(client, section, 4)[0] == "4", "the best one is judged against whichever was faster, and wins"
    assert outcomes[2].promoted


def test_concurrent_processes_end_in_a_consistent_state(section, client, version):
    """Takes the seconds in which a process imports MLflow."""
    version(40), promoted(section)
    version(20), version(20)
    code = (
        "import sys; from sap2.params import *; from sap2.tracking.promotion import promote\n"
        "section = TrackingSection.model_validate_json(sys.argv[1])\n"
        "promote(section, GateSection(), EvaluationSection(bootstrap_samples=100), sys.argv[2], force='a race')"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", code, section.model_dump_json(), str(number)]) for number in (2, 3)
    ]
    assert [process.wait(60) for process in racing] == [0, 0]
    assert sorted(consistent(client, section, 3)) == ["1", "2", "3"]


@pytest.mark.parametrize("step", range(5))
def test_a_move_cut_short_anywhere_is_finished_by_the_next(section, client, version, monkeypatch, step):
    """As if the process had been killed before the step: nothing is cleaned up, the lock stays."""
    version(30), promoted(section), version(2)

    class Killed(BaseException):
        pass

    calls = []

    def dying(method):
        def call(*given):
            if len(calls) == step:
                raise Killed
            calls.append(method)
            return getattr(type(client), method)(client, *given)

        return call

    with monkeypatch.context() as patch:
        patch.setattr("sap2.tracking.promotion.reachable_client", lambda _: client)
        for method in ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias",
                       "delete_registered_model_tag"):  # fmt: skip
            patch.setattr(client, method, dying(method), raising=False)
        patch.setattr(moving, "_release", lambda *_: None)
        patch.setattr(moving, "LEASE", 0.0)
        with pytest.raises(Killed):
            promoted(section, 2)
    version(2)  # not better than 2 by more than noise
    assert promoted(section, 3).promoted is (step == 0), "before the journal nothing has happened, after it everything"
    held = places(client, section)
    assert (held["champion"], held["previous"]) == ((3, 1) if step == 0 else (2, 1))
    consistent(client, section, 3)


def test_an_interrupted_rollback_is_finished_not_repeated(section, client, version, monkeypatch):
    for wrong in (30, 15, 2):
        version(wrong), promoted(section)
    with monkeypatch.context() as patch:
        patch.setattr("sap2.tracking.promotion.reachable_client", lambda _: client)
        patch.setattr(client, "set_registered_model_alias", dying, raising=False)
        with pytest.raises(TrackingError, match="gone"):
            rollback(section)
    assert places(client, section) == {"champion": 2, "previous": 1}, "a reader sees what has been decided"
    assert client.get_registered_model(section.model_name).aliases["champion"] == 3
    assert rollback(section) == (3, 2)
    assert client.get_registered_model(section.model_name).aliases == {"champion": 2, "previous": 1}
    assert rollback(section) == (2, 1)


def dying(*_):
    raise ConnectionError("gone")


def test_a_deleted_version_is_no_rollback_target(section, client, version):
    for wrong in (30, 15, 2):
        version(wrong), promoted(section)
    client.delete_model_version(section.model_name, "1")
    assert rollback(section) == (3, 2)
    assert places(client, section) == {"champion": 2}


def test_a_move_to_a_version_that_was_deleted_blocks_no_other(section, client, version, monkeypatch):
    version(30), promoted(section), version(2)
    with monkeypatch.context() as patch:
        patch.setattr("sap2.tracking.promotion.reachable_client", lambda _: client)
        patch.setattr(client, "set_model_version_tag", dying, raising=False)
        with pytest.raises(TrackingError, match="gone"):
            promoted(section)
    client.delete_model_version(section.model_name, "2")
    version(1)
    outcome = promoted(section)
    assert (outcome.promoted, outcome.version, outcome.against) == (True, 3, 1)
    assert places(client, section) == {"champion": 3, "previous": 1}


def test_a_lock_that_is_held_is_waited_for_and_its_holder_named(section, client, version):
    version(1)
    with moving.locked(client, section.model_name):
        with pytest.raises(TrackingError, match="has been moving aliases for 0.2 s"):
            with moving.locked(client, section.model_name, patience=0.2):
                pass


def test_a_stale_lock_is_taken_over_exclusively(section, client, version):
    version(1)
    client.create_registered_model(f"{section.model_name}.moving", tags={"token": "gone", "by": "x", "until": "1.0"})
    inside, most = [], []

    def enter(_):
        with moving.locked(client, section.model_name):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert most == [1] * 4
    assert client.search_registered_models(f"name LIKE '{section.model_name}.%'") == []
