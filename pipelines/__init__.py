"""Kubeflow pipelines made of `components`: built for a profile of params.yaml, compiled, run here or in a cluster."""
