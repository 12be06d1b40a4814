"""Unit tests, and the doubles that extension authors may use too."""
