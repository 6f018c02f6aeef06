"""Files of the state."""
