"""Sources -> one Hugging Face dataset with frozen splits; the examples that models learn from."""
