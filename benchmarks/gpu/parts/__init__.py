"""Parts of the benchmark, one module per part with a function `measure(run)`; listed in run.py."""
