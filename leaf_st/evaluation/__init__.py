"""Fifth stage: measure how near the student is to its teacher, and how well it retrieves in each mode."""
