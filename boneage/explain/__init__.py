"""Attribution maps of a model, and checks of their validity."""
