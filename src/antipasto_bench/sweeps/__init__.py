"""Many runs: which are owed, and where they are made: in this process, in workers, under torchrun, or on Ray."""
