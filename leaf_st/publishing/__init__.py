"""Publishing a student: the folder that everybody can load, its checks, its card, and the hub."""
