"""Two faults, each once: the corpus cannot be put in place, and a training is killed after its first checkpoint.

On the path of a run's processes, Python imports this at their start; SAP2_FAULTS is the folder for its marks.
"""

import os
import signal
from pathlib import Path

MARKS = Path(os.environ["SAP2_FAULTS"])
replace = os.replace


def once(name: str) -> bool:
    try:
        (MARKS / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def faulty(source, target, **options) -> None:
    target = Path(target)
    if target.name == "prepared" and once("disk-full"):
        raise OSError("no space left on the device")
    replace(source, target, **options)
    if target.name == "complete.json" and target.parent.name.startswith("checkpoint-") and once("killed"):
        os.kill(os.getpid(), signal.SIGKILL)


os.replace = faulty
