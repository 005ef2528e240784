"""The seam between `bench` and `planner`: facts about GPUs and models, and measured or published curves."""
