"""Kubeflow components: one per stage, each a thin wrapper of `sap2.stages`, all in the same image.

`flow` has the stages, `transcription` the talks. A body runs in its pod, without this module's imports: it
imports what it needs. This package itself does not import Kubeflow, as `outputs` is used inside the pods.
"""
