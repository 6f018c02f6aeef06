"""Launch and watch builds on clusters."""
