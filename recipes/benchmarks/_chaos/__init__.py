"""The trials of chaos.py: commands of leaf-st in processes of their own, and what is done to them."""
