"""The evidence on disk: records, the table, items, run folders, leases."""
