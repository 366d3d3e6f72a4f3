"""How far the heat maps of a model can be relied on: measures, verdicts, the trust card."""
