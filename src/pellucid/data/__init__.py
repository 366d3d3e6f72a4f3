"""Datasets: reading, splitting, auditing and generating labelled images."""
