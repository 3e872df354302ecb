"""Publishing a student: the report and the model card, the folder for the hub and its checks, push and pull."""
