"""What the documents' figures come from: `python -m benchmarks.NAME [--quick] [--json]`."""
