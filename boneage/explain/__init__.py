"""What a model looks at: attribution maps, and whether to believe them."""
