"""What an answer is measured by."""
