"""The evidence on disk: records, the table, items, excerpts, run folders, leases; and the quantities shown of it."""
