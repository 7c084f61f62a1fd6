"""Many runs: what is owed, and who makes it: this process, several, or a Ray cluster."""
