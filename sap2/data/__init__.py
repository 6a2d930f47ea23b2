"""Corpora to manifests: one file a corpus, and what they share (audio, lists, quarantine)."""
