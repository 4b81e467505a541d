"""A recipe with its TokenLearner beside the same without it: what it saves, what it costs."""
