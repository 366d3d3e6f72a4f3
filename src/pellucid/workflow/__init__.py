"""Composition: recipe and data to a run folder, and what is done with a run afterwards."""
