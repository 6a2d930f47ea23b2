"""The pipelines' error: what failed, and the way out."""

from sap2.errors import SapError

__all__ = ["PipelineError"]


class PipelineError(SapError):
    """A run of a pipeline failed, or the cluster cannot be reached or refuses."""
