"""Compare predictors under one evaluation protocol."""
