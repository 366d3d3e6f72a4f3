"""Archives of images: predicted and explained part by part, so that an interrupted batch can be resumed."""
