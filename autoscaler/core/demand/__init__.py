"""How many processes the work needs: by thresholds, or by a target wait."""
