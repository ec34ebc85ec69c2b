"""The pages of the console, a module each; `routes.py` has their paths and roles."""
