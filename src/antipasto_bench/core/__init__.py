"""What every other package stands on: errors, paths, files, signals, the machine, where a number comes from."""
