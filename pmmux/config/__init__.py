"""Configuration: from files, the environment and the command line to frozen typed values."""
