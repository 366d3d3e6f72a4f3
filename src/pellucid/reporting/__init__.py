"""Pictures, figures and pages. Drawing libraries are imported here, late."""
