"""MLflow: runs of the stages, the packaged model, the registry. Only this package imports mlflow, when used."""

from sap2.tracking.packaging import load_registered
from sap2.tracking.registry import log_evaluation, register
from sap2.tracking.runs import Tracker, start_run
from sap2.tracking.store import check_server, tracking_uri

__all__ = ["Tracker", "check_server", "load_registered", "log_evaluation", "register", "start_run", "tracking_uri"]
