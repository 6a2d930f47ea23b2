"""Kubeflow components: one a stage, each a thin shell round `sap2.stages`, all in one image.

`flow` holds the stages, `transcription` the talks. A body runs in its pod, out of sight of this package's imports: it
imports what it needs. This package imports no Kubeflow by itself, as `outputs` is used inside the pods.
"""
