"""Steps of a build, from drops to marts."""
