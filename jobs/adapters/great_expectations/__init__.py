"""Great Expectations judges what the workers measured. Heavy to import: only on the driver, and only when needed."""
