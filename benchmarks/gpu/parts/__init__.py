"""What is measured, a module per part with one door, `measure(run)`; run.py lists them."""
