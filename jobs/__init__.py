"""Everything that touches the world: storage, cluster, databases, terminal, clock."""
