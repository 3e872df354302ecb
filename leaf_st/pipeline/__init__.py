"""From a recipe to a finished run: the stages in their order, the plan, the smoke run and the demo."""
