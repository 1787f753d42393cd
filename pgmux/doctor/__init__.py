"""The doctor: what idleness costs a PostgreSQL, who holds its oldest snapshot, and which pool would do."""
