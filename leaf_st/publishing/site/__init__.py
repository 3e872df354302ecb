"""A static search page: the student runs in the browser, over documents that the teacher embedded."""
