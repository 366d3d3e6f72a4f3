"""Evaluation: metrics with intervals, from arrays of labels and predictions alone."""
