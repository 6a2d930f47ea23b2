"""What of MLflow we reach beyond its documented interface.

Read at MLflow 3.17.2; tests/test_internals.py fails when what is relied on here changes.
"""

__all__ = ["SystemMetrics"]


class SystemMetrics:
    """Load of processor, memory, disk, network and GPUs, read by MLflow's own monitor and named as its pages expect.

    The monitor only reads: our tracker sends, which continues when a server is away.
    """

    def __init__(self, run_id: str, uri: str):
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor, self._count = SystemMetricsMonitor(run_id, tracking_uri=uri), 0

    def read(self) -> tuple[dict[str, float], int]:
        """The current figures, and the number of readings before."""
        self._monitor.collect_metrics()
        figures = {f"system/{name}": value for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        self._count += 1
        return figures, self._count - 1
