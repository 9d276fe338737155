"""Studies: grids of runs, their execution, and the comparisons drawn from them."""
