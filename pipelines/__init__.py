"""Kubeflow pipelines of `components`: built for a profile of params.yaml, compiled, run locally or in a cluster."""
