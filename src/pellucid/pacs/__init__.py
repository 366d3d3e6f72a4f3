"""Results of a bundle as standard DICOM objects, and the node that exchanges them with an archive."""
