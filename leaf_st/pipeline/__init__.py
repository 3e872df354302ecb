"""Complete runs of a recipe: the stages in order, the plan, the smoke run and the demo."""
