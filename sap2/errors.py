"""The project's errors, one class a cause. Each message says where, what was got and expected, and the way out."""


class SapError(Exception):
    """Base of all errors a user can act on; the command line prints its message and exits 1."""


class InputError(SapError):
    """A file, manifest line, audio or list from outside cannot be used."""


class OutputError(SapError):
    """An output cannot be written; what was at its place before is as it was."""

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason


class ParamsError(SapError):
    """params.yaml or an override holds an unknown key or a value out of range."""


class ModelError(SapError):
    """A base, adapter or checkpoint is missing, broken or does not fit its partner."""


class TrackingError(SapError):
    """The MLflow tracking server or registry cannot be reached or refuses."""


class Stopped(SapError):
    """A training was told to stop by SIGTERM and has kept what it takes to go on; the command line exits 143."""


class Abandoned(Stopped):
    """A training whose pipeline's step is gone has kept what it takes to go on; the command line exits 0.

    Kubernetes must not start its pod again, which any other code would have it do.
    """


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, or PyTorch for a processor or a GPU, says that there is no memory left."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("t allocate memory", "out of memory")
    )
