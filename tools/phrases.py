"""Phrases that must not come back, as (pattern, what to write instead). `make gates` looks for them."""

from __future__ import annotations

PHRASES: tuple[tuple[str, str], ...] = (
    (r"whole road", "the full pipeline"),
    (r"generated (?:chest-)?films?\b|film look|chest-film", "synthetic X-rays"),
    (r"look-alikes?\b", "synthetic images"),
    (r"is missing is drawn", "missing splits are created"),
    (r"positive one of", "positive class (binary tasks only)"),
    (r"instead of a run:", "cross-validate ... instead of making a run"),
    (r"minute and client", "per minute per client"),
    (r"take away", "export"),
    (r"let go\b", "drop to classify"),
    (r"half within", "median"),
    (r"unlike (?:image|those|the training|that of)", "unusual images; images that do not resemble the training images"),
    (r"\bof ours\b", "name it: the CAM method, a pellucid file"),
    (r"\b(?:go|goes|going|gone|went) on\b", "continue, resume"),
    (r"\bsure(?:r|st)\b", "more confident, most confident"),
    (r"\bfor sure\b", "certain"),
    (r"\b(?:that|which|there) (?:is|are) none\b", "say what is absent"),
    (r"\banew\b", "again, or a new ..."),
    (r"\bof them\b", "name them"),
    (r"\bnext to (?:no|none|nothing)\b", "almost no"),
    (r"\bwhat it came to\b", "the result"),
    (r"\banswered alike\b", "agree"),
    (r"needs no torch", "PyTorch is not needed"),
    (r"there are (?:stretch|binary)\b", "choose ..."),
    (r"half-made", "partial"),
    (r"\bbusily\b", "spinning"),
    (r"\bunasked\b", "by default, automatically"),
    (r"\bso many\b", "at most N, up to N"),
    (r"\bwith what is then\b", "rewrite"),
)
