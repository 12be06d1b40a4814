"""Advice on configurations that are valid and yet not what their authors want: one file per concern."""
