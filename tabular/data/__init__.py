"""Tables: sources, reading, splitting into data sets and folds, and profiles."""
