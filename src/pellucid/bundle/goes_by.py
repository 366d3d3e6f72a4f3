"""The concepts that an audit found a model to go by, recognised in other images of the same model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..classifier import EvidenceClassifier
from ..errors import BundleError
from ..evaluation.audit import AUDIT_FILE, AuditDocument
from ..evaluation.discovered import ConceptEntry
from ..evaluation.discovered_verdicts import ConceptStatus, status_of
from ..explanation.known_concepts import ClassFactors, concept_maps, read_factors
from ..preprocessing import FloatArray
from .bundle import Bundle
from .manifest import MODEL

LEAST, MOST, STRONG = 0.05, 3, 0.5


@dataclass(frozen=True, slots=True)
class EvidenceShare:
    """The share, 0 to 1, of an image's evidence for a class that lies in a concept, and what is known of the concept.

    `words` are those of a person who answered for it, else empty.
    """

    concept: str
    label: str
    share: float
    status: ConceptStatus
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class KnownConcepts:
    """The concepts of a model's last audit, and the factors (by the class's number) that recognise them."""

    concepts: tuple[ConceptEntry, ...]
    factors: dict[int, ClassFactors]

    @classmethod
    def of_audit(cls, folder: Path, bundle: Bundle) -> KnownConcepts | None:
        """Of an audit's folder; None without one, or where it is of another model or an older version.

        Raises BundleError for a damaged file of factors, ValueError for a damaged `audit.json`.
        """
        if not (folder / AUDIT_FILE).is_file():
            return None
        audit = AuditDocument.model_validate_json((folder / AUDIT_FILE).read_bytes())
        found = audit.discovered
        if found is None or found.factors is None or audit.bundle != bundle.manifest.files.get(MODEL, ""):
            return None
        factors = read_factors(folder / found.factors)
        return cls(found.concepts, factors) if factors else None

    @classmethod
    def readable(cls, folder: Path, bundle: Bundle) -> KnownConcepts | None:
        """As `of_audit`; None also where the audit cannot be read."""
        try:
            return cls.of_audit(folder, bundle)
        except (BundleError, OSError, ValueError):
            return None

    def shares(self, classifier: EvidenceClassifier, batch: FloatArray, label: str) -> tuple[EvidenceShare, ...]:
        """In which concepts the evidence of one image (1, 3, H, W) for a class lies, at most three, by one pass.

        Empty where nothing of the image speaks for the class, or its concepts are not known.
        """
        factors = self.factors.get(tuple(classifier.classes).index(label))
        if factors is None:
            return ()
        maps = concept_maps(classifier, batch, label, factors).amounts[0]
        cells = maps.sum(axis=0)
        if cells.max() <= 0:
            return ()
        # As in the audit, the places with the strongest evidence count, not the many with a little.
        amounts = maps[:, cells >= STRONG * cells.max()].sum(axis=1)
        shares = amounts / amounts.sum()
        named = [c for c in self.concepts if c.label == label and c.factor is not None]
        found = [
            EvidenceShare(c.name, label, float(shares[c.factor]), status_of(c), c.answer.words if c.answer else "")
            for c in named
            if c.factor is not None and shares[c.factor] >= LEAST
        ]
        return tuple(sorted(found, key=lambda s: -s.share)[:MOST])
