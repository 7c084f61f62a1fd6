"""Many runs: which are owed, and where they are made: in this process, in several, or on a Ray cluster."""
