"""What a user would pick instead of these servers."""
