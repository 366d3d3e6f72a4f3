"""A bundle as a page that needs no server: model, heat map and doubts in the browser alone."""
