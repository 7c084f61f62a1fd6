"""The package that a variant of another project is of: one of its settings, since another version is another arm."""

PACKAGE = "package"  # the setting: name and version of the distribution
