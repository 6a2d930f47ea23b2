"""The source of the served model: a folder, a registered version, or the version that an alias points to."""

from collections.abc import Sequence

from sap2.errors import TrackingError
from sap2.params import TrackingSection
from sap2.serving.engine import BatchRecogniser

__all__ = ["ModelSource"]


class ModelSource:
    """Resolves and loads the model that a URI refers to.

    Args:
        uri: A folder with base, pruner and recogniser; `models:/NAME/VERSION`; or `models:/NAME@ALIAS`.
        overrides: Changes to the model's settings, such as `inference.num_beams=4`.
    """

    def __init__(self, uri: str, tracking: TrackingSection, overrides: Sequence[str] = ()):
        self.uri, self._tracking, self._overrides = uri, tracking, overrides

    @property
    def moves(self) -> bool:
        """Whether the URI is an alias, which may point to another version later."""
        return self.registered and "@" in self.uri

    @property
    def registered(self) -> bool:
        """Whether the URI names a registered model rather than a folder."""
        return self.uri.startswith("models:/")

    @property
    def name(self) -> str:
        """The registered model's name without version or alias, or the folder."""
        return self.uri.removeprefix("models:/").partition("@")[0].partition("/")[0] if self.registered else self.uri

    def current(self) -> str:
        """Resolve an alias to `models:/NAME/VERSION`; other URIs are returned unchanged.

        Raises: TrackingError: there is no such alias, or the registry is unavailable.
        """
        if not self.moves:
            return self.uri
        from sap2.tracking.aliases import aliases
        from sap2.tracking.store import new_client, reporting, tracking_uri

        name, _, alias = self.uri.removeprefix("models:/").rpartition("@")
        with reporting(tracking_uri(self._tracking), f"gives no {self.uri}"):
            versions = aliases(new_client(self._tracking), name)
        if alias not in versions:
            known = ", ".join(sorted(versions)) or "none"
            raise TrackingError(
                f'{self.uri}: no version has this alias (there are: {known}); run "sap2 promote", or name a version'
            )
        return f"models:/{name}/{versions[alias]}"

    def load(self, current: str) -> BatchRecogniser:
        """Load a model and run it once, so that the first request is not slower than others.

        Raises: ModelError, TrackingError: it cannot be loaded.
        """
        import numpy as np

        from sap2.tracking.packaging import load_recogniser

        recogniser: BatchRecogniser = load_recogniser(self._tracking, current, self._overrides)
        recogniser.recognise([np.zeros(16_000, np.float32)], [["warm"]])
        return recogniser
