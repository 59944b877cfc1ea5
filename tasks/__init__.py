"""What one step does: `tasks/<line>/<step>.py`, one step a file; `python -m tasks <stage>` runs one alone."""
