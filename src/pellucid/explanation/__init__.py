"""Explanations: attribution maps and the measures of their worth."""
