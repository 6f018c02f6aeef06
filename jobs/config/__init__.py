"""Settings, suites and credentials."""
