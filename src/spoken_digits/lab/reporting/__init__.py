"""Reports: HTML, figures, and the tables of the README."""
