"""Which version is in production: the aliases champion, previous and challenger, moved as one.

MLflow moves one alias at a time and has no transaction. Two things make a move one step all the same:

- A lock: a registered model with a name of its own. Names are unique in the store, so only one client can make it,
  whichever machine it runs on; whoever has it moves, then deletes it. One that outlives its lease was left by a
  process that is gone, and is taken over.
- A journal: what is to be is written into one tag of the model before the first alias moves, and removed after the
  last. From the tag on it counts: who reads the aliases reads them as it will leave them, and a move that was cut
  short is finished by the next one who has the lock. The process is informed, as it may have been given the same
  command again, after an answer was lost, and must not go on from where it already is.
"""

import json
import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sap2.constants import Seconds
from sap2.errors import TrackingError
from sap2.tracking.runs import user
from sap2.tracking.store import brief

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "PREVIOUS",
    "UNFINISHED",
    "aliases",
    "finished",
    "locked",
    "move",
    "unfinished",
    "version_number",
]


CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
JOURNAL = "sap2.moving"
UNFINISHED = "sap2.unfinished"  # tag of a version: "true" until its registration is done
LEASE: Seconds = 60  # a move takes a second or two
PATIENCE: Seconds = 120


def aliases(asking, name: str) -> dict[str, int]:
    """The version each alias of a model points to, as a move that is being made or was cut short leaves them.

    Raises: TrackingError: there is no such model.
    """
    model = _model(asking, name)
    held = {alias: int(version) for alias, version in model.aliases.items()}
    if JOURNAL in model.tags:
        held |= json.loads(model.tags[JOURNAL])["places"]
    return {alias: version for alias, version in held.items() if version is not None}


def version_number(asking, name: str, version: str) -> int:
    """The number of a version that is given by it or by an alias.

    Raises: TrackingError: no such version or alias.
    """
    from mlflow.exceptions import MlflowException

    held = aliases(asking, name)
    if not version.isdecimal():
        if version in held:
            return held[version]
        known = ", ".join(f"{alias} ({number})" for alias, number in sorted(held.items())) or "none"
        raise TrackingError(f"model {name}: no version with alias {version!r}; there are {known}; or name its number")
    try:
        found = asking.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(f'model {name}: no version {version}; "sap2 models" lists them') from error
    if unfinished(found):
        raise TrackingError(
            f"model {name}: the registration of version {version} was cut short; give it again (sap2 register), which "
            "completes the version or removes it"
        )
    return int(found.version)


def unfinished(version) -> bool:
    """Whether a version is being registered, or its registration was cut short: it is nobody's yet."""
    return version.tags.get(UNFINISHED) == "true"


def finished(asking, name: str) -> dict | None:
    """Finish a move that was cut short, and return it as `move` was given it; None: there was none.

    Raises: TrackingError: there is no such model.
    """
    if JOURNAL not in _model(asking, name).tags:  # the lock is for those who need it
        return None
    with locked(asking, name) as plan:
        return plan


@contextmanager
def locked(asking, name: str, patience: Seconds = PATIENCE) -> Iterator[dict | None]:
    """Be the only one who moves the model's aliases; a move that was cut short before is finished first, and given.

    Raises: TrackingError: another one has had the lock for all of `patience`; the message says who.
    """
    lock, token = f"{name}.moving", uuid.uuid4().hex
    try:
        _acquire(asking, lock, token, patience)
        journal = asking.get_registered_model(name).tags.get(JOURNAL)
        plan = json.loads(journal) if journal else None
        if plan:
            _carry_out(asking, name, plan)
        yield plan
    finally:
        try:
            _release(asking, lock, token)
        except Exception as error:  # what was done inside is done, and the lock's lease ends by itself
            _say(f"the lock {lock} could not be given back, and ends in {LEASE:g} s: {brief(error)}")


def move(asking, name: str, places: Mapping[str, int | None], version: int, tags: Mapping[str, str]) -> None:
    """Point aliases elsewhere and tag a version, all or nothing; only inside `locked`.

    An error may come before anything was done, or leave the move to be finished: the same command again knows which.

    Args:
        places: Version by alias; None = the alias goes.
        version, tags: What the move says of the version it is about.
    """
    plan = {"places": dict(places), "version": version, "tags": dict(tags)}
    if gone := _gone(asking, name, plan):
        raise TrackingError(f'model {name}: version {gone} has been deleted; "sap2 models" lists those there are')
    asking.set_registered_model_tag(name, JOURNAL, json.dumps(plan))
    _carry_out(asking, name, plan)


def _carry_out(asking, name: str, plan: Mapping) -> None:
    """Every step may have been done before: doing it again changes nothing.

    Where somebody has deleted a version meanwhile, nothing moves: or no move would ever be possible again.
    """
    if _gone(asking, name, plan) is None:
        for tag, value in plan["tags"].items():
            asking.set_model_version_tag(name, str(plan["version"]), tag, value)
        for alias, version in plan["places"].items():
            if version is None:
                asking.delete_registered_model_alias(name, alias)
            else:
                asking.set_registered_model_alias(name, alias, str(version))
    try:
        asking.delete_registered_model_tag(name, JOURNAL)
    except Exception as error:  # all is done: doing it again will change nothing
        _say(f"model {name}: the aliases have moved; the note of it stays until the next move: {brief(error)}")


def _gone(asking, name: str, plan: Mapping) -> int | None:
    """The first version of a move that has been deleted."""
    numbers = sorted({plan["version"], *plan["places"].values()} - {None})
    return next((one for one in numbers if not _if_there(asking.get_model_version, name, str(one))), None)


def _if_there(call, *given: str) -> bool:
    """Whether what the call is about is there."""
    from mlflow.exceptions import MlflowException

    try:
        call(*given)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _model(asking, name: str):
    from mlflow.exceptions import MlflowException

    try:
        return asking.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(
            f'there is no registered model {name!r}; run "sap2 register" first, or correct tracking.model_name'
        ) from error


def _acquire(asking, lock: str, token: str, patience: Seconds) -> None:
    from mlflow.exceptions import MlflowException

    waited_until = time.monotonic() + patience
    while True:
        try:
            held = {"token": token, "by": user(), "until": str(time.time() + LEASE)}
            asking.create_registered_model(lock, tags=held, description="Somebody moves the aliases of this model.")
            return
        except MlflowException as error:
            # Theirs; or it was, and went in the same moment.
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        tags = _tags(asking, lock)
        if tags.get("token") == token:  # the answer was lost, and MLflow asked again
            return
        if time.monotonic() > waited_until:
            raise TrackingError(
                f"{tags.get('by', 'somebody')} has been moving aliases for {patience:g} s (the registered model "
                f"{lock!r} is the lock); try again later"
            )
        if not tags or float(tags["until"]) > time.time() or not _taken_away(asking, lock, tags["token"]):
            time.sleep(random.uniform(0.1, 0.5))


def _taken_away(asking, lock: str, token: str) -> bool:
    """Put the lock of a process that is gone aside. Of many who try, one succeeds in renaming it, and only that one:
    the name aside is taken until the next one to have the lock is done with it, so a slow one takes no new lock away.
    """
    from mlflow.exceptions import MlflowException

    try:
        asking.rename_registered_model(lock, f"{lock}.{token}")
    except MlflowException:  # another one was faster: the store says so in several ways
        return False
    return True


def _release(asking, lock: str, token: str) -> None:
    if _tags(asking, lock).get("token") != token:
        return  # the lease ran out and it is another's now
    _if_there(asking.delete_registered_model, lock)
    for aside in asking.search_registered_models(f"name LIKE '{lock}.%'"):
        _if_there(asking.delete_registered_model, aside.name)


def _tags(asking, lock: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return asking.get_registered_model(lock).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _say(message: str) -> None:
    print(f"tracking: {message}", file=sys.stderr)
