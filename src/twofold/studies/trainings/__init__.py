"""The trainings of a study: recipes, arms and baselines, and their scores on the full catalog."""
