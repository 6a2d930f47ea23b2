"""The project's errors, one class a cause. Each message says where, what was got and expected, and the way out."""


class SapError(Exception):
    """Base of all errors a user can act on; the command line prints its message and exits 1."""


class InputError(SapError):
    """A file, manifest line, audio or list from outside cannot be used."""


class ParamsError(SapError):
    """params.yaml or an override holds an unknown key or a value out of range."""


class ModelError(SapError):
    """A base, adapter or checkpoint is missing, broken or does not fit its partner."""


class TrackingError(SapError):
    """The MLflow tracking server or registry cannot be reached or refuses."""
