"""Which model is served: a folder, a version, or whichever version an alias points to; and when that changes."""

from collections.abc import Sequence

from sap2.errors import TrackingError
from sap2.params import TrackingSection
from sap2.serving.engine import Recognising

__all__ = ["ModelSource"]


class ModelSource:
    """Finds and loads what `uri` stands for now.

    Args:
        uri: A folder with base, pruner and recogniser; `models:/NAME/VERSION`; or `models:/NAME@ALIAS`.
        overrides: Changes of the model's settings, as `inference.num_beams=4`.
    """

    def __init__(self, uri: str, tracking: TrackingSection, overrides: Sequence[str] = ()):
        self.uri, self._tracking, self._overrides = uri, tracking, overrides

    @property
    def moves(self) -> bool:
        """Whether another model may come to stand behind the same name."""
        return self.registered and "@" in self.uri

    @property
    def registered(self) -> bool:
        return self.uri.startswith("models:/")

    @property
    def name(self) -> str:
        """The registered model's name, without version or alias; a folder is its own."""
        return self.uri.removeprefix("models:/").partition("@")[0].partition("/")[0] if self.registered else self.uri

    def current(self) -> str:
        """The version behind the alias, as `models:/NAME/VERSION`; what never moves is its own name.

        Raises: TrackingError: there is no such alias, or the registry does not answer.
        """
        if not self.moves:
            return self.uri
        from sap2.tracking.aliases import aliases
        from sap2.tracking.store import new_client, reporting, tracking_uri

        name, _, alias = self.uri.removeprefix("models:/").rpartition("@")
        with reporting(tracking_uri(self._tracking), f"gives no {self.uri}"):
            held = aliases(new_client(self._tracking), name)
        if alias not in held:
            known = ", ".join(sorted(held)) or "none"
            raise TrackingError(
                f'{self.uri}: no version has this alias (there are: {known}); run "sap2 promote", or name a version'
            )
        return f"models:/{name}/{held[alias]}"

    def load(self, current: str) -> Recognising:
        """The model, warm: what is done only once is done before the first request.

        Raises: ModelError, TrackingError: it cannot be loaded.
        """
        import numpy as np

        from sap2.tracking.packaging import load_recogniser

        recogniser = load_recogniser(self._tracking, current, self._overrides)
        recogniser.recognise([np.zeros(16_000, np.float32)], [["warm"]])
        return recogniser
