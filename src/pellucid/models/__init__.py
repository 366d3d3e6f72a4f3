"""Models in torch: building, exporting. Torch lives here and in `training`."""
