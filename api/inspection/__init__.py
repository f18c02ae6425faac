"""Inspection of a corpus, and its quarantine: functions and JSON over `index.proof.inspection`."""
