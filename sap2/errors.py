"""The project's exceptions, one class per cause. Messages name location, got and expected values, and the way out."""


class SapError(Exception):
    """Base class of errors that a user can fix; the command line prints the message and exits with 1."""


class InputError(SapError):
    """An input file, manifest line, recording or list is unusable."""


class OutputError(SapError):
    """An output cannot be written; an earlier version of it is unchanged."""

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason


class ParamsError(SapError):
    """params.yaml or an override has an unknown key or a value out of range."""


class ModelError(SapError):
    """A base, adapter or checkpoint is missing, broken or incompatible."""


class TrackingError(SapError):
    """The MLflow tracking server or registry is unreachable or refuses."""


class Stopped(SapError):
    """A training was stopped by SIGTERM and saved a checkpoint to resume from; the command line exits with 143."""


class Abandoned(Stopped):
    """A training saved a checkpoint because its pipeline step is gone; the command line exits with 0.

    With any other exit code Kubernetes would restart the pod.
    """


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that Python, or PyTorch on CPU or GPU, is out of memory."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("t allocate memory", "out of memory")
    )
