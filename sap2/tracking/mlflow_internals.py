"""The parts of MLflow's internals that this package uses.

Written for MLflow 3.17.2; tests/test_internals.py fails when these internals change.
"""

__all__ = ["SystemMetrics"]


class SystemMetrics:
    """Load of CPU, memory, disk, network and GPUs, read by MLflow's monitor and named as its pages expect.

    The monitor only reads; `Tracker` sends, as it tolerates an unavailable server.
    """

    def __init__(self, run_id: str, uri: str):
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor, self._count = SystemMetricsMonitor(run_id, tracking_uri=uri), 0

    def read(self) -> tuple[dict[str, float], int]:
        """Read the current figures; return them and the number of earlier readings."""
        self._monitor.collect_metrics()
        figures = {f"system/{name}": value for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        self._count += 1
        return figures, self._count - 1
