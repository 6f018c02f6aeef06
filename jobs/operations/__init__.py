"""What operators do besides building."""
