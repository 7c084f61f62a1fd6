"""What the evidence says: arms, comparisons, swept axes. Pure statistics, read from the store alone."""
