"""Training: batches, cached features, the loop."""
