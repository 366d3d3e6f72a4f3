"""Archives of images: predicted and explained part by part, so that a run can stop anywhere and go on from there."""
