"""What is released: the model that ships, models of own words, the model card."""
