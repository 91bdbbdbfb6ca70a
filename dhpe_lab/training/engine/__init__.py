"""Synthetic hands by the batch, made on the training device while it trains."""
