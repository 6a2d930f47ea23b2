"""The model's aliases champion, previous and challenger, moved atomically.

MLflow moves aliases individually and has no transactions. Two things make a move atomic all the same:

- A lock: a registered model with a name derived from the model's. Names are unique in the store, so only one client on
  any machine can create it; its owner moves the aliases, then deletes it. A lock whose lease has expired was left by a
  dead process and is taken over.
- A journal: the target state is written into a tag of the model before the first alias moves, and removed after the
  last. From then on it counts: readers see the aliases as the move will leave them, and an interrupted move is finished
  by the next owner of the lock. That owner gets the finished move, as its own command may be a retry of it after a lost
  response, which must not start again from the new state.
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
UNFINISHED = "sap2.unfinished"  # tag of a version: "true" until its registration is complete
LEASE: Seconds = 60  # a move takes a second or two
LOCK_TIMEOUT: Seconds = 120


def aliases(client, name: str) -> dict[str, int]:
    """Return the version of each alias, as a move in progress or an interrupted move will leave them.

    Raises: TrackingError: no such model.
    """
    model = _model(client, name)
    held = {alias: int(version) for alias, version in model.aliases.items()}
    if JOURNAL in model.tags:
        held |= json.loads(model.tags[JOURNAL])["places"]
    return {alias: version for alias, version in held.items() if version is not None}


def version_number(client, name: str, version: str) -> int:
    """Resolve a version's number or alias to its number.

    Raises: TrackingError: no such version or alias.
    """
    from mlflow.exceptions import MlflowException

    held = aliases(client, name)
    if not version.isdecimal():
        if version in held:
            return held[version]
        known = ", ".join(f"{alias} ({number})" for alias, number in sorted(held.items())) or "none"
        raise TrackingError(
            f"model {name}: no version with alias {version!r}, expected a version's number or one of: {known}"
        )
    try:
        registered = client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(f'model {name}: no version {version}; "sap2 models" lists them') from error
    if unfinished(registered):
        raise TrackingError(
            f"model {name}: the registration of version {version} was interrupted; run it again (sap2 register), which "
            "completes or removes the version"
        )
    return int(registered.version)


def unfinished(version) -> bool:
    """Return whether a version's registration is in progress or was interrupted; such a version must not be used."""
    return version.tags.get(UNFINISHED) == "true"


def finished(client, name: str) -> dict | None:
    """Finish an interrupted move and return its plan, see `move`; None if there is none.

    Raises: TrackingError: no such model.
    """
    if JOURNAL not in _model(client, name).tags:  # avoid the lock if there is nothing to finish
        return None
    with locked(client, name) as plan:
        return plan


@contextmanager
def locked(client, name: str, patience: Seconds = LOCK_TIMEOUT) -> Iterator[dict | None]:
    """Lock the model's aliases; finish an interrupted move first and yield its plan.

    Raises: TrackingError: another owner held the lock for all of `patience`; the message names them.
    """
    lock, token = f"{name}.moving", uuid.uuid4().hex
    try:
        _acquire(client, lock, token, patience)
        journal = client.get_registered_model(name).tags.get(JOURNAL)
        plan = json.loads(journal) if journal else None
        if plan:
            _carry_out(client, name, plan)
        yield plan
    finally:
        try:
            _release(client, lock, token)
        except Exception as error:  # the work inside is done, and the lock's lease expires by itself
            _report(f"the lock {lock} could not be released, it expires in {LEASE:g} s: {brief(error)}")


def move(client, name: str, targets: Mapping[str, int | None], version: int, tags: Mapping[str, str]) -> None:
    """Move aliases and tag a version atomically; only inside `locked`.

    After an error the move either did not start or is finished later; repeating the command handles both.

    Args:
        targets: Version by alias; None = remove the alias.
        version, tags: The version the move is about, and tags to set on it.
    """
    plan = {"places": dict(targets), "version": version, "tags": dict(tags)}
    if gone := _deleted_version(client, name, plan):
        raise TrackingError(f'model {name}: version {gone} has been deleted; "sap2 models" lists all versions')
    client.set_registered_model_tag(name, JOURNAL, json.dumps(plan))
    _carry_out(client, name, plan)


def _carry_out(client, name: str, plan: Mapping) -> None:
    """Carry out a move, some steps of which may already be done; repeating a step changes nothing.

    If a version was deleted in the meantime, nothing moves; otherwise the journal would block all later moves.
    """
    if _deleted_version(client, name, plan) is None:
        for tag, value in plan["tags"].items():
            client.set_model_version_tag(name, str(plan["version"]), tag, value)
        for alias, version in plan["places"].items():
            if version is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, str(version))
    try:
        client.delete_registered_model_tag(name, JOURNAL)
    except Exception as error:  # all is done, and repeating it would change nothing
        _report(f"model {name}: the aliases have moved, but their journal stays until the next move: {brief(error)}")


def _deleted_version(client, name: str, plan: Mapping) -> int | None:
    """Return the first version of a move that has been deleted, or None."""
    numbers = sorted({plan["version"], *plan["places"].values()} - {None})
    return next((number for number in numbers if not _exists(client.get_model_version, name, str(number))), None)


def _exists(call, *arguments: str) -> bool:
    """Call a function of the client; return False if its subject does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _model(client, name: str):
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(
            f'no registered model {name!r}; run "sap2 register" first, or correct tracking.model_name'
        ) from error


def _acquire(client, lock: str, token: str, patience: Seconds) -> None:
    from mlflow.exceptions import MlflowException

    waited_until = time.monotonic() + patience
    while True:
        try:
            held = {"token": token, "by": user(), "until": str(time.time() + LEASE)}
            client.create_registered_model(
                lock, tags=held, description="Lock: the aliases of this model are being moved."
            )
            return
        except MlflowException as error:
            # Locked, or released at the same moment.
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        tags = _tags(client, lock)
        if tags.get("token") == token:  # the response was lost and MLflow retried
            return
        if time.monotonic() > waited_until:
            raise TrackingError(
                f"{tags.get('by', 'another client')} has been moving aliases for {patience:g} s (the registered model "
                f"{lock!r} is the lock); try again later"
            )
        if not tags or float(tags["until"]) > time.time() or not _take_over(client, lock, tags["token"]):
            time.sleep(random.uniform(0.1, 0.5))


def _take_over(client, lock: str, token: str) -> bool:
    """Take over the lock of a dead process by renaming it.

    Of several clients only one succeeds. The new name stays taken until the next owner releases the lock, so that a
    slow client cannot take over a newer lock.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.rename_registered_model(lock, f"{lock}.{token}")
    except MlflowException:  # another client was faster, which the store reports in several ways
        return False
    return True


def _release(client, lock: str, token: str) -> None:
    if _tags(client, lock).get("token") != token:
        return  # the lease expired, and the lock has another owner
    _exists(client.delete_registered_model, lock)
    for aside in client.search_registered_models(f"name LIKE '{lock}.%'"):
        _exists(client.delete_registered_model, aside.name)


def _tags(client, lock: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(lock).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _report(message: str) -> None:
    print(f"tracking: {message}", file=sys.stderr)
