"""Anomaly detection from normal images alone, as functions of arrays: memory of patches, Gaussians, thresholds."""
