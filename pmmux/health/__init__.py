"""Health: checks run at intervals, what clients' connections tell, and the status that follows."""
