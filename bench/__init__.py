"""Side-by-side benchmarks: what Gantry adds to what an engine does by itself, measured in the same run."""
