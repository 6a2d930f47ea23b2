"""Readers that turn corpora into manifests, one module per corpus, and what they share (audio, lists, quarantine)."""
