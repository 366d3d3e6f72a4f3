"""`pellucid optimise`: other engines and precisions, measured before they are offered."""
